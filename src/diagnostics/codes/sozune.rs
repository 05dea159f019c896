//! Codes of Sōzune, with their meaning there: 0xx; and about its listeners and labels, and Docker: 330 to 349.

use super::super::Code;
use super::super::Severity::{Error, Info, Warn};

codes! {
    NOT_ENABLED "E001" Error "labels of a workload that is not enabled"
        "The container has labels for the proxy, but none that says `PREFIX.enable=true` (exactly \
         `true`), or one that says otherwise. It is passed over. `exposeByDefault` enables those that \
         do not say; `enable=false` wins over it. Containers without any label of the prefix are not \
         looked at."
        "thalweg.enable=true"
    INSPECT_FAILED "E003" Error "Docker could not say more about a container"
        "The daemon listed the container and then failed to describe it, so that neither its address \
         nor its health is known. It is not routed to until the daemon tells; this is asked again."
        "docker inspect CONTAINER"
    LABELS_WITHOUT_SERVICE "E004" Error "enabled, but without a service"
        "The container is enabled and no label names a service, so that nothing is exposed."
        "thalweg.tcp.db.entrypoint=postgres"
    NO_ENTRYPOINT "E005" Error "a service without an entrypoint"
        "A label names a service of TCP, but no label says which listener it attaches to: \
         `PREFIX.tcp.SERVICE.entrypoint`. The route is dropped, others go on."
        "sozune.tcp.db.entrypoint=postgres"
    NO_UDP_PORT "E006" Error "a UDP service without a port"
        "Datagram services have no usual port, so that a label must say it. The route is dropped. UDP \
         is not proxied either: see E335."
        "sozune.udp.dns.port=53"
    UNDECLARED_LISTENER "E007" Error "a label references an undeclared listener"
        "The entrypoint that the label names is not declared. Labels never open ports: what is listened \
         on is known from the configuration alone. The route is dropped."
        "\"listeners\": [ { \"name\": \"postgres\", \"port\": 5432 } ], or `proxy.tcp` in Sōzune's configuration"
    BAD_PORT_LABEL "W001" Warn "a port label that is no port"
        "The value is not a whole number from 1 to 65535. The default, 8080, is used."
        "sozune.tcp.db.port=5432"
    BAD_PRIORITY_LABEL "W002" Warn "a priority label that is no number"
        "The value is not a whole number of 32 bits. The priority is 0."
        "sozune.tcp.db.priority=10"
    NETWORK_NOT_FOUND "W009" Warn "the container is not in the network named"
        "The network that the label (or `providers.docker.network`) names has no address of this \
         container. The first network by name that has one is used."
        "docker network connect NETWORK CONTAINER"
    NO_ADDRESS "W010" Warn "the container has no address of its own"
        "It is in no network that gives it an address: it shares that of the host, or has none. \
         127.0.0.1 is used, or the daemon's host where the daemon is reached by TCP."
        "docker network connect bridge CONTAINER"
    UNKNOWN_PROTOCOL "W012" Warn "labels of an unknown protocol"
        "The word after the prefix is none of `http`, `tcp` and `udp`. Its labels are passed over."
        "sozune.tcp.db.entrypoint=postgres"
    UNKNOWN_LABEL "W013" Warn "an unknown label"
        "The label begins with the prefix, but nothing of that name is known for routes of TCP. It has \
         no effect; a misspelt one would be the default otherwise, without a word."
        "sozune.tcp.db.prt=5432   becomes   sozune.tcp.db.port=5432"
    ROUTE_COLLISION "W018" Warn "two services at one place"
        "Either two services of one listener have the same priority: the first by name gets all \
         connections, the others take over when it is gone. Or containers that call their service the \
         same differ in its labels: the later one is a service of its own, called after its container."
        "sozune.tcp.db.priority=10"
    BAD_LOAD_BALANCER "W022" Warn "an unknown load balancing"
        "The value is none that TCP routes have; `hrw` and `maglev` are for UDP. Targets are used in turn."
        "round_robin, random, power_of_two, least_connections"
    PLUGINS_ON_TCP "W026" Warn "plugins on a TCP route"
        "Plugins are for HTTP. The label has no effect."
        "Remove the label."
    BAD_WEIGHT_LABEL "W027" Warn "a weight that is no number"
        "The value is not a whole number, 0 or more. The weight is 1."
        "sozune.tcp.db.weight=90"
    PORT_DEFAULTED "I002" Info "no port label"
        "No label says which port of the container is meant, so 8080 is used, whatever the image exposes."
        "sozune.tcp.db.port=5432"

    LISTENER_TWICE "E330" Error "two listeners have the same name"
        "Labels call listeners by name, so each needs one of its own, over `proxy.tcp` of Sōzune's files \
         and the `listeners` of the main file. The first is served, the other is not."
        "proxy: { tcp: [ { name: postgres, listen: 5432 }, { name: redis, listen: 6379 } ] }"
    LISTENER_UNUSABLE "E331" Error "a listener of `proxy.tcp` that cannot be"
        "It has no name or no port, or something in it cannot be read. A listener that is not as it was \
         meant is not opened, since a limit of it might not hold."
        "proxy: { tcp: [ { name: postgres, listen: 5432 } ] }"
    ALLOW_LIST_EMPTY "E332" Error "an allow list without a valid entry"
        "None of the entries of `ip_allow_list` is an address or a network. The listener is not opened: \
         it was meant for few, and must not be open to all. A list without entries allows everybody."
        "ip_allow_list: [\"94.23.3.96\", \"172.16.0.0/12\"]"
    ROUTE_TO_ITSELF "E333" Error "a route that leads back to the proxy"
        "The container has no address of its own, and the port on 127.0.0.1 is one that the proxy listens \
         on: each connection would come back to it. The route is dropped."
        "Attach the container to a network, or give it another port."
    RESTRICTION_WITHOUT_EFFECT "E334" Error "a restriction that TCP routes do not have"
        "The label is meant to keep clients out, or to check who they are, and exists for HTTP only. \
         Without it the route would be open to more than was meant, so it is dropped."
        "proxy: { tcp: [ { name: postgres, listen: 5432, ip_allow_list: [\"10.0.0.0/8\"] } ] }"
    UDP_ROUTE "E335" Error "a UDP route"
        "Only TCP is proxied. The route is dropped."
        "sozune.tcp.dns.entrypoint=dns"
    DOCKER_AWAY "W330" Warn "Docker does not answer"
        "The daemon is not there, or does not answer in time. What is known of its containers stays in \
         use, and it is asked again and again; all is looked at anew once it answers."
        "systemctl status docker; and may this user read the socket?"
    BAD_NETWORK_ENTRY "W331" Warn "an entry that is no network"
        "The entry is neither an address nor a network, and is left out. The list only gets narrower."
        "172.16.0.0/12"
    BALANCING_DIFFERS "W332" Warn "services of one listener that balance in different ways"
        "Services that share a listener take over from each other by priority. How targets are chosen is \
         one for all of them: that of the service with the highest priority."
        "sozune.tcp.db.loadBalancer=least_connections on each of them"
    TOO_MANY_PRIORITIES "W333" Warn "too many services on one listener"
        "One listener has up to 16 services, which take over from each other by priority. The further ones \
         would hardly ever be reached, and are left out."
        "Give services of the same kind the same name: their containers then share the connections."
    NOT_SOZUNE "W334" Warn "a file that is neither"
        "The document has no `proxy`, as Sōzune's configuration, and no `services`, as a Compose file. \
         Nothing of it is used."
        "proxy: { tcp: [ { name: postgres, listen: 5432 } ] }"
    TOO_MANY_CONTAINERS "W335" Warn "too many containers"
        "The daemon has more containers with labels for the proxy than are looked at. The youngest are \
         left out."
        "Use another `labelPrefix` for those that are another proxy's."
    NOT_TCP "I330" Info "passed over, since it is not TCP"
        "HTTP routes and listeners, and what else Sōzune's configuration has besides `proxy.tcp`, mean \
         nothing here. Containers are watched by `providers.docker` of the main file."
        "\"providers\": { \"docker\": { \"endpoint\": \"unix:///var/run/docker.sock\" } }"
    NOT_READY "I331" Info "a container that does not get connections now"
        "Its HEALTHCHECK has not passed yet or fails, or it is paused. It gets connections once it is \
         healthy; a container without a HEALTHCHECK does as soon as it runs."
        "docker inspect --format '{{.State.Health.Status}}' CONTAINER"
}
