//! Every family of metrics: its name, its labels and what it says. The table of the README is made of
//! them. Labels hold configured names and words of our own only, so that their number is bounded by
//! the configuration.

/// Numbers of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only rises.
    Counter,
    /// It comes and goes.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares the families, in the order in which they are written.
macro_rules! families {
    ($($id:ident $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD_INFO "thalweg_build_info" Gauge ["version"] "1; the version is a label.";
    CONFIGURATION_VERSION "thalweg_configuration_version" Gauge []
        "Counts what was applied, from 1.";
    RELOADS "thalweg_reloads_total" Counter ["result"]
        "Reloads by what became of them: applied or refused.";
    LAST_RELOAD_SUCCESSFUL "thalweg_last_reload_successful" Gauge []
        "1: the last reload was applied, or there was none; 0: it was refused.";
    LAST_RELOAD "thalweg_last_reload_timestamp_seconds" Gauge []
        "When the last reload ended, or the start, in seconds since 1970.";
    SERVICES "thalweg_services" Gauge [] "Services that are served.";
    LISTENERS "thalweg_listeners" Gauge [] "Addresses that are listened on.";
    DRAINING "thalweg_draining" Gauge [] "1: the process ends and takes no new connections.";

    ACCEPTED "thalweg_accepted_total" Counter [] "Connections taken from listeners.";
    CONNECTIONS "thalweg_connections" Gauge [] "Connections alive.";
    CONNECTIONS_MAX "thalweg_connections_max" Gauge []
        "Connections that the limit of open files allows.";
    ENDINGS "thalweg_endings_total" Counter ["side", "step", "cause"]
        "Connections that ended, by their reason (thalweg explain CAUSE).";
    UNROUTED_ENDINGS "thalweg_unrouted_endings_total" Counter ["side", "step", "cause"]
        "Those of them that ended before a service was chosen.";
    BYTES "thalweg_bytes_total" Counter ["direction"]
        "Bytes handed over: up to targets, down to clients; of live connections up to a second ago.";
    CONNECT_RETRIES "thalweg_connect_retries_total" Counter []
        "Further attempts after a failed connect.";
    TLS_HANDSHAKES "thalweg_tls_handshakes_total" Counter ["version", "resumed"]
        "TLS handshakes with clients that succeeded.";
    SPLICES "thalweg_splices_total" Counter [] "Directions that turned to splice.";
    PIPES "thalweg_pipes" Gauge [] "Pipes in use.";
    PIPES_REFUSED "thalweg_pipes_refused_total" Counter [] "Times no pipe could be had.";
    BUFFERS "thalweg_buffers" Gauge []
        "Directions whose receiver does not keep up; each holds a buffer or a pipe.";
    DESCRIPTORS_SHORT "thalweg_descriptors_short_total" Counter []
        "Times a core ran out of descriptors.";
    EVENTS "thalweg_events_total" Counter [] "Events handed to the writer.";
    EVENTS_DROPPED "thalweg_events_dropped_total" Counter []
        "Events dropped because the writer was behind.";

    SERVICE_CONNECTIONS "thalweg_service_connections" Gauge ["service"]
        "Connections alive of a service.";
    SERVICE_ACCEPTED "thalweg_service_accepted_total" Counter ["service"]
        "Connections for which the service was chosen, also those that it refused.";
    SERVICE_BYTES "thalweg_service_bytes_total" Counter ["service", "direction"]
        "As thalweg_bytes_total.";
    SERVICE_CONNECT_RETRIES "thalweg_service_connect_retries_total" Counter ["service"]
        "As thalweg_connect_retries_total.";
    SERVICE_ENDINGS "thalweg_service_endings_total" Counter ["service", "side", "step", "cause"]
        "As thalweg_endings_total; only reasons that there were.";
    SERVICE_TLS_HANDSHAKES "thalweg_service_tls_handshakes_total" Counter
        ["service", "version", "resumed"]
        "As thalweg_tls_handshakes_total; only kinds that there were.";
    SERVICE_CONNECT "thalweg_service_connect_seconds" Histogram ["service"]
        "How long connecting to a target took, where it succeeded.";
    SERVICE_TLS_HANDSHAKE "thalweg_service_tls_handshake_seconds" Histogram ["service", "side"]
        "How long TLS handshakes took with clients and with targets (upstream), where they succeeded.";
    SERVICE_DURATION "thalweg_service_connection_duration_seconds" Histogram ["service"]
        "How long connections lived.";

    TARGET_CONNECTIONS "thalweg_target_connections" Gauge ["service", "target"]
        "Connections to a target, those still connecting among them.";
    TARGET_UP "thalweg_target_up" Gauge ["service", "target"] "1: gets new connections.";
    TARGET_STATUS "thalweg_target_status" Gauge ["service", "target"]
        "0: down, 1: up, 2: has passed no check yet and must, 3: ejected for a time, 4: drained by an operator.";
    TARGET_CHANGES "thalweg_target_changes_total" Counter ["service", "target"]
        "Times it went up or down.";
    TARGET_CONNECTS "thalweg_target_connects_total" Counter ["service", "target", "result"]
        "Attempts to connect that were completed (TLS included): connected or failed.";
    TARGET_BYTES "thalweg_target_bytes_total" Counter ["service", "target", "direction"]
        "As thalweg_bytes_total.";
    TARGET_TLS_HANDSHAKES "thalweg_target_tls_handshakes_total" Counter ["service", "target"]
        "TLS handshakes with the target that succeeded; only of targets that had one.";
    TARGET_CHECKS_PASSED "thalweg_target_checks_passed_total" Counter ["service", "target"]
        "Health checks that passed.";
    TARGET_CHECKS_FAILED "thalweg_target_checks_failed_total" Counter ["service", "target"]
        "Health checks that failed.";
    TARGET_CHECK_SUCCESSFUL "thalweg_target_check_successful" Gauge ["service", "target"]
        "1: its last health check passed; only of targets that are checked.";
    TARGET_CHECK_DURATION "thalweg_target_check_duration_seconds" Gauge ["service", "target"]
        "How long that check took.";
    TARGET_CHECK_TIMESTAMP "thalweg_target_check_timestamp_seconds" Gauge ["service", "target"]
        "When it ended, in seconds since 1970.";
    TARGET_EJECTIONS "thalweg_target_ejections_total" Counter ["service", "target"]
        "Times connections to it failed so often that it was left out.";

    NAME_ADDRESSES "thalweg_name_addresses" Gauge ["name"]
        "Addresses in use of a target's name.";
    NAME_FAILURES "thalweg_name_failures_total" Counter ["name"]
        "Times the name was asked for and no address came.";
    NAME_ANSWER "thalweg_name_answer_timestamp_seconds" Gauge ["name"]
        "When its last good answer came, in seconds since 1970; only if one has come.";
    LIST_TARGETS "thalweg_list_targets" Gauge ["source"]
        "Targets in use of a list that is followed (SRV records, a registry).";
    LIST_FAILURES "thalweg_list_failures_total" Counter ["source"]
        "Times the list was asked for and none came that could be used.";
    LIST_ANSWER "thalweg_list_answer_timestamp_seconds" Gauge ["source"]
        "When the last good list came, in seconds since 1970; only if one has come.";
    CERTIFICATE_EXPIRY "thalweg_certificate_expiry_timestamp_seconds" Gauge ["file"]
        "When a certificate expires, in seconds since 1970.";

    CORE_TICKS "thalweg_core_ticks_total" Counter ["core"] "Heartbeat of a core, ten a second.";
    CORE_LAG_MAX "thalweg_core_lag_max_seconds" Gauge ["core"]
        "Longest delay of a heartbeat since the start.";
    CORE_LAG "thalweg_core_lag_seconds_total" Counter ["core"] "Delays of all heartbeats.";
    CORE_CONNECTIONS "thalweg_core_connections" Gauge ["core"] "Connections alive on a core.";
    CORE_ACCEPTED "thalweg_core_accepted_total" Counter ["core"] "Connections that came to it.";
    CORE_BYTES "thalweg_core_bytes_total" Counter ["core", "direction"]
        "As thalweg_bytes_total.";

    EVENT_OUTPUT_WRITTEN "thalweg_event_output_written_total" Counter ["kind", "place"]
        "Events that went to an output.";
    EVENT_OUTPUT_DROPPED "thalweg_event_output_dropped_total" Counter ["kind", "place"]
        "Events that an output did not get.";
    EVENT_OUTPUT_FAILURES "thalweg_event_output_failures_total" Counter ["kind", "place"]
        "Attempts of an output that failed.";
    EVENT_OUTPUT_FAILING "thalweg_event_output_failing" Gauge ["kind", "place"]
        "1: the last attempt failed.";
    EVENT_OUTPUT_QUEUED "thalweg_event_output_queued_bytes" Gauge ["kind", "place"]
        "Events that wait for an output, in bytes.";

    ADMIN_REQUESTS "thalweg_admin_requests_total" Counter ["code"]
        "Requests to the admin API by the status they were answered with.";
    ADMIN_REFUSALS "thalweg_admin_refused_total" Counter ["reason"]
        "Requests to the admin API that were refused.";
    ADMIN_REFUSED "thalweg_admin_connections_refused_total" Counter []
        "Connections to it that were closed at once, for there were too many.";

    CPU "process_cpu_seconds_total" Counter [] "Processor time used, of user and system.";
    RESIDENT "process_resident_memory_bytes" Gauge [] "Resident memory.";
    VIRTUAL "process_virtual_memory_bytes" Gauge [] "Virtual memory.";
    OPEN_FDS "process_open_fds" Gauge [] "Open file descriptors.";
    MAX_FDS "process_max_fds" Gauge [] "The limit of open file descriptors.";
    START_TIME "process_start_time_seconds" Gauge []
        "When the process started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the README, row by row.
    fn table() -> String {
        let row = |family: &Family| {
            let labels = family.labels.iter().map(|label| format!("`{label}`"));
            let labels = labels.collect::<Vec<_>>().join(", ");
            let (name, kind, help) = (family.name, family.kind.name(), family.help);
            format!("| `{name}` | {kind} | {labels} | {help} |\n")
        };
        ALL.iter().map(row).collect()
    }

    /// To mend it: copy what the test shows into the README.
    #[test]
    fn the_readme_has_every_family() {
        let readme = include_str!("../../../../README.md");
        let head = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";
        let (_, there) = readme.split_once(head).expect("the table of metrics");
        let there: String = there.split_inclusive('\n').take_while(|it| *it != "\n").collect();
        assert!(there == table(), "the README should have\n{head}{}", table());
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = std::collections::HashSet::new();
        for family in ALL {
            let name = family.name;
            assert!(names.insert(name), "{name} is there twice");
            let of_ours = name.starts_with("thalweg_") || name.starts_with("process_");
            assert!(of_ours && name.bytes().all(|c| c == b'_' || c.is_ascii_lowercase()), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}");
        }
    }
}
