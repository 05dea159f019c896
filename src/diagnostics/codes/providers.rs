//! Codes about providers in general: 300 to 309.

use super::super::Code;
use super::super::Severity::{Error, Warn};

codes! {
    BAD_WHITELIST "E300" Error "ports that are no ports"
        "`portsWhitelist` has a port that is none (0), or a range that ends before it begins. Nothing \
         is opened for what cannot be read."
        "\"portsWhitelist\": { \"tcp\": { \"ports\": [5432], \"ranges\": [{ \"from\": 8000, \"to\": 9000 }] } }"
    PORT_NOT_WHITELISTED "E301" Error "the port is not in the whitelist"
        "Services that the main file does not declare itself (those of the admin API and of providers) \
         may only have ports that `portsWhitelist` names for their protocol: `tcp` where `tls` is \
         `Disabled`, `tls` otherwise. Without a whitelist they may have none. The service is not \
         served; everything else is."
        "\"portsWhitelist\": { \"tcp\": { \"ports\": [5432] } }, or \"disablePortsWhitelist\": true"
    FOREIGN_FILE "E302" Error "a provider's file cannot be read"
        "A file that a provider names is missing, may not be read, or is not what it should be. What it \
         declares is not served; everything else is."
        "Check the paths under `providers`; relative ones start at the main file."
    FOREIGN_SYNTAX "E303" Error "a provider's file is not well-formed"
        "The text breaks off or does not follow the grammar of JSON or YAML at the line named. Nothing \
         of that file is served from this line on; everything else is."
        "Mend the line. In YAML, indent with spaces, and quote what contains `: ` or ` #`."
    BAD_LISTENER "E304" Error "a listener that cannot be"
        "An entry of `listeners` has no name or no port, or the name of another. Labels of containers \
         name listeners, so each needs a name of its own."
        "\"listeners\": [ { \"name\": \"postgres\", \"port\": 5432 } ]"
    PUSHES_OUT "E306" Error "it would take the place of another"
        "The service does not go with one that a provider declares and that is served: what the main \
         file and the admin API declare comes first, so that one would be left out. The admin API does \
         not do that behind somebody's back."
        "Choose another port or name, or change what the provider declares first."
    NO_FILES "W300" Warn "no file there"
        "A pattern under `providers` fits no file. That may be right: files may come later, and a \
         reload reads them."
        "Check the pattern; a relative one starts at the main file."
    PROVIDER_NOT_BUILT "E305" Error "a provider that this build does not have"
        "The program was built without the feature that this provider needs."
        "cargo build --release --features docker,kubernetes"
}
