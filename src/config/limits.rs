//! Every bound of the program: its name, unit, default and reason. A number that limits something
//! and does not stand here is a bug.

use std::num::NonZeroU8;
use std::time::Duration;

// ---- what a service may leave out -------------------------------------------------------------

/// `timeouts.connect`. A SYN lost twice is resent after 1 s and 3 s: 5 s lets both through.
pub const CONNECT_DEFAULT: Duration = Duration::from_secs(5);
/// `timeouts.hello`. A hello is the first thing a TLS client sends; see the SYN above.
pub const HELLO_DEFAULT: Duration = Duration::from_secs(3);
/// `timeouts.handshake`. A few round trips, also from a phone.
pub const HANDSHAKE_DEFAULT: Duration = Duration::from_secs(10);
/// `timeouts.idle`. Long enough for pooled database connections, short enough that a peer which
/// vanished without a word does not hold descriptors for ever.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(3600);
/// `timeouts.halfClosed`. One side has said all it has to say; the other answers or is gone.
pub const HALF_CLOSED_DEFAULT: Duration = Duration::from_secs(60);
/// `retries`. One further target hides a target that just died, without multiplying load.
pub const RETRIES_DEFAULT: u32 = 1;
/// Most `retries` a service may ask for: each may cost a whole connect deadline.
pub const RETRIES_MAX: u32 = 16;
/// `timeouts.lifetimeJitter`, in percent of the lifetime: a thousand connections that began in the same
/// second and live for an hour end over six minutes.
pub const LIFETIME_JITTER_DEFAULT: u8 = 10;
/// `limits.connectionRate.per`.
pub const RATE_PER_DEFAULT: Duration = Duration::from_secs(1);
/// Least `limits.bytesPerSecond`: whoever writes less has forgotten a unit.
pub const BANDWIDTH_MIN: u64 = 1 << 10;
/// Most `limits.bytesPerSecond`: beyond it the costs of bytes are below the nanosecond of the clock.
pub const BANDWIDTH_MAX: u64 = 1 << 40;
/// Longest duration a configuration may name; longer is a typing error, and fits every clock here.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

// ---- the configuration file -------------------------------------------------------------------

/// Largest configuration file read, in bytes. 10,000 services of 1 KiB are 10 MiB.
pub const CONFIG_BYTES_MAX: u64 = 256 << 20;
/// Largest document of one service that is kept in the state directory or taken by the admin API, in
/// bytes. The largest that people write, with lists of networks, are some 100 KiB.
pub const SERVICE_BYTES_MAX: u64 = 1 << 20;
/// Most services in a state directory: each is a file that is opened at the start.
pub const STORED_SERVICES_MAX: usize = 10_000;
/// Longest name of a file, in bytes (`NAME_MAX` of the common file systems).
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// Most faults of shape reported in one run; beyond it the rest is noise of the first.
pub const FAULTS_MAX: usize = 200;
/// Deepest nesting of a configuration file; `serde_json` reads no deeper either. The deepest place
/// of the contract is below 16.
pub const NESTING_MAX: usize = 127;
/// Longest host name, without the trailing dot (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest path of a Unix socket: `sun_path` with its closing NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

// ---- who may connect --------------------------------------------------------------------------

/// Largest file of networks read, in bytes: room for more than 3,000,000 networks.
pub const NETWORK_FILE_BYTES_MAX: u64 = 64 << 20;
/// Faulty lines told of one file of networks; more say nothing new.
pub const NETWORK_FAULTS_MAX: usize = 20;
/// Networks written into the configuration itself before a warning: the event of each connection has
/// the whole document of its service.
pub const NETWORKS_INLINE_MAX: usize = 1000;
/// Parts of a service's table of sources, each under a lock of its own that is held for the time of a
/// look: cores meet at one in 256 unless the same source comes to both.
pub const SOURCE_SHARDS: usize = 256;
/// Sources whose rate is remembered, of each service that limits it: 1 MiB, and no more for a million
/// sources.
pub const SOURCE_RATES: usize = 65_536;
/// Places of which any can hold a given source: what is found is found in one or two cache lines.
pub const SOURCE_WAYS: usize = 8;
/// Clients of one listener, over all cores, whose first bytes are not complete; each holds some 3 KiB and
/// at most a hello of 64 KiB. Beyond it new ones are refused.
pub const PEEKS_MAX: u32 = 16_384;
/// Of them those of one source on one core. A load balancer or a NAT in front is one source: a thousand
/// is one second of 1,000 connections a second whose hello takes a second.
pub const PEEKS_PER_SOURCE_MAX: u32 = 1024;
/// Clients of one core that are told in TLS, or in their protocol, why they were not admitted, at a
/// time; the others are reset at once.
pub const FAREWELLS_MAX: usize = 256;

// ---- sockets ----------------------------------------------------------------------------------

/// Length of a listener's accept queue, in connections, on each core. The kernel caps it at
/// `net.core.somaxconn` (4096 by default).
pub const BACKLOG: i32 = 4096;
/// Silence before the first keepalive probe. Below the 350 s after which common load balancers and
/// NATs forget a flow.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Between two keepalive probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which the peer is dead: 120 + 5 × 15 = 195 s at most.
pub const KEEPALIVE_PROBES: u32 = 5;
/// How long a peer may leave bytes or window probes unacknowledged before it is dead. Long enough
/// for a route to fail over or a machine to be migrated. Also the least `TCP_USER_TIMEOUT`.
pub const DEAD_AFTER: Duration = Duration::from_secs(120);
/// Ticks between two looks at whether the peers of a silent connection are dead.
pub const DEAD_CHECK_TICKS: u32 = 100;
/// Connections taken from a listener's queue in one go, before others get their turn.
pub const ACCEPT_BATCH: usize = 64;
/// Pause of a listener after the process ran out of descriptors or memory for sockets.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Descriptors kept free of connections: logs, events, rings, eventfds, the control thread's files and
/// its questions ([`RESOLVES_AT_ONCE`]).
pub const DESCRIPTORS_RESERVED: u64 = 128;

// ---- the relay --------------------------------------------------------------------------------

/// The one scratch buffer of a core, in bytes. Larger gains under 5 % on bulk, which splices anyway.
pub const SCRATCH_BYTES: usize = 64 << 10;
/// Full scratch buffers in a row after which a direction turns to splice.
pub const FULL_READS_TO_SPLICE: u8 = 2;
/// A splice round below this many bytes counts as small.
pub const SPLICE_SMALL_BYTES: usize = 16 << 10;
/// Small splice rounds in a row after which a direction turns back to copying.
pub const SMALL_ROUNDS_TO_COPY: u8 = 2;
/// Capacity asked for a pipe, in bytes: 64 KiB costs a third more CPU on bulk, 1 MiB gains nothing.
pub const PIPE_BYTES: i32 = 256 << 10;
/// Most pipes lent at a time on one core: 256 × 256 KiB bounds what slow receivers pin at 64 MiB.
pub const PIPES_LENT_MAX: usize = 256;
/// Most empty pipes a core keeps for the next flow.
pub const PIPES_IDLE_MAX: usize = 32;
/// Waits for bytes after which a direction is busy: short connections and quiet ones never are.
pub const HOT_AFTER: u16 = 16;
/// Busy directions of a core whose readiness is told by edges; some 300 bytes each, most of it the
/// kernel's. Those beyond poll for each message.
pub const HOT_MAX: usize = 16_384;
/// Places looked at for one that is not busy any more.
pub const HOT_CLOCK_STEPS: usize = 8;
/// Looks for edges in a row before the ring's own completions are collected: some hundred µs.
pub const HOT_STREAK: u32 = 16;
/// Bytes one direction may move before other connections get their turn.
pub const TURN_BYTES: usize = 1 << 20;
/// After a reset on one side, how long the bytes already sent to the other may stay without any
/// acknowledged progress before that side is reset too.
pub const FLUSH_STALL: Duration = Duration::from_secs(5);
/// The same in all, however slowly it moves: a receiver must not hold a dead connection by a byte
/// at a time.
pub const FLUSH_MAX: Duration = Duration::from_secs(60);
/// First and longest pause between two looks at what is still unacknowledged.
pub const FLUSH_POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

// ---- bandwidth --------------------------------------------------------------------------------

/// How much of a bandwidth may be saved up and used at once: a tenth of a second's …
pub const BANDWIDTH_BURST: Duration = Duration::from_millis(100);
/// … but so many bytes at least (or one second's), so that a slow limit does not chop small messages.
pub const BANDWIDTH_BURST_MIN: u64 = 16 << 10;
/// Bytes a direction may move for one turn at a limit, within these; 1/256 s of the bandwidth between
/// them. Smaller turns share a service among its connections more evenly, larger ones cost less.
pub const BANDWIDTH_TURN: (u64, u64) = (16 << 10, 256 << 10);
/// Who waits for a turn looks so often whether a reload has changed the rate.
pub const BANDWIDTH_LOOK: Duration = Duration::from_secs(1);

// ---- choosing a target ------------------------------------------------------------------------

/// Turns of one round of a weighted round robin: weights are reduced until it fits.
pub const SCHEDULE_MAX: usize = 1024;
/// Largest `weight`.
pub const WEIGHT_MAX: u32 = 65_535;
/// Highest `tier`: more than anybody ranks by hand, and each is a pass over the targets.
pub const TIER_MAX: u8 = 15;
/// How often a choice is made anew when others take the last connection of a target meanwhile.
pub const CHOICES_MAX: usize = 8;
/// Connections of a pool that may wait for a target with room, over all cores.
pub const QUEUE_MAX: u32 = 256;
/// Between two looks for room …
pub const QUEUE_POLL: Duration = Duration::from_millis(10);
/// … and of those who are next: a place that is given up should not lie idle for long.
pub const QUEUE_POLL_NEXT: Duration = Duration::from_millis(1);
/// How many are next.
pub const QUEUE_NEXT: u32 = 16;
/// A wait that lasts so much longer than it may belongs to a core that has died.
pub const QUEUE_GRACE: Duration = Duration::from_secs(1);

// ---- connecting -------------------------------------------------------------------------------

/// Addresses of one target tried in one go: a name may have very many.
pub const ADDRESSES_TRIED_MAX: usize = 4;
/// How long an attempt at one address of a name may last before the next is started beside it (RFC
/// 8305 §8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long it is remembered that the addresses of one family of a name do not answer (RFC 8305
/// §9.1): until then each connection would pay [`ATTEMPT_DELAY`] to find out.
pub const FAMILY_MEMORY: Duration = Duration::from_secs(600);

// ---- names of targets, and lists of targets ---------------------------------------------------

/// Addresses kept of a name: an answer of a thousand records is cut here.
pub const ADDRESSES_KEPT_MAX: usize = 64;
/// `resolver.minTtl`: a TTL of 0 (Consul's) is one question in this time.
pub const TTL_MIN_DEFAULT: Duration = Duration::from_secs(5);
/// Least `resolver.minTtl`.
pub const TTL_MIN_LEAST: Duration = Duration::from_millis(100);
/// `resolver.maxTtl`: whoever has forgotten a TTL of a day before a move is not punished for a day.
pub const TTL_MAX_DEFAULT: Duration = Duration::from_secs(300);
/// How long what `/etc/hosts` says of a name is used before the file is looked at again.
pub const HOSTS_TTL: Duration = Duration::from_secs(10);
/// `resolver.timeout`: for one question to one server, as most stub resolvers have it or longer.
pub const RESOLVE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// How often a question is asked before it has failed.
pub const RESOLVE_ATTEMPTS: usize = 2;
/// For all questions about one name: both families, and every domain of the search list.
pub const RESOLVE_DEADLINE: Duration = Duration::from_secs(20);
/// `resolver.grace`: a zone that is being replaced is whole again within seconds.
pub const RESOLVE_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// First pause after a failure; doubled with each further one, up to [`RETRY_PAUSE_MAX`].
pub const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// See [`RETRY_PAUSE`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Names asked for at a time, and lists: a name takes up to four sockets, a list one.
pub const RESOLVES_AT_ONCE: usize = 16;
/// Between two attempts to put a changed list into use, when something else stands in the way.
pub const LISTS_AGAIN: Duration = Duration::from_secs(5);
/// For the connection to one address of an endpoint of lists: others are to have their turn within
/// [`DISCOVERY_TIMEOUT_DEFAULT`].
pub const DISCOVERY_CONNECT: Duration = Duration::from_millis(1500);
/// How long the start waits for names before it says ready without them.
pub const RESOLVE_START: Duration = Duration::from_secs(3);
/// `discovery.interval`: an answer of a registry is a few kilobytes.
pub const DISCOVERY_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
/// Least `discovery.interval`.
pub const DISCOVERY_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// `discovery.timeout`.
pub const DISCOVERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Largest document fetched, in bytes: 1,000 entries of 4 KiB, which is more than Consul writes.
pub const DISCOVERY_BYTES_MAX: usize = 4 << 20;
/// Redirects followed, all of them to the endpoint's own host.
pub const DISCOVERY_REDIRECTS_MAX: usize = 3;
/// Largest file of a header's value, in bytes; servers take no longer headers.
pub const HEADER_FILE_BYTES_MAX: usize = 8 << 10;
/// Targets of one list that are used.
pub const FOUND_MAX: usize = 1024;
/// Bad entries of a list that are told one by one.
pub const FOUND_FAULTS_TOLD: usize = 5;
/// After a list has changed, how long others may change before all are served: they do at one time.
pub const FOUND_QUIET: Duration = Duration::from_millis(200);
/// How long connections go on without the addresses of what was found, for them to be resolved first.
pub const FOUND_RESOLVE: Duration = Duration::from_secs(1);

// ---- health of targets ------------------------------------------------------------------------

/// `healthCheck.interval`. With the default `fall` a dead target is out after at most 7 s.
pub const CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// Shortest `healthCheck.interval`: 100 checks a second of one target help nobody.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// `healthCheck.fastInterval`, unless `interval` is shorter.
pub const CHECK_FAST_DEFAULT: Duration = Duration::from_secs(1);
/// `healthCheck.timeout`. A SYN or an answer lost once is resent after 1 s.
pub const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// `healthCheck.rise`: one success may be luck.
pub const CHECK_RISE_DEFAULT: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);
/// `healthCheck.fall`: two failures may be a lost packet and the next.
pub const CHECK_FALL_DEFAULT: NonZeroU8 = NonZeroU8::MIN.saturating_add(2);
/// Longest message of a command, in bytes.
pub const CHECK_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Most commands of a check.
pub const CHECK_COMMANDS_MAX: usize = 64;
/// Bytes received in one check, after which it has failed: a target that talks without end must
/// not hold the control thread.
pub const CHECK_BYTES_MAX: usize = 64 << 10;
/// Largest compiled expectation, in bytes. A text needs some hundred.
pub const EXPECTATION_COMPILED_MAX: usize = 1 << 20;
/// Most checks at a time, as one of so many descriptors …
pub const CHECKS_PER_DESCRIPTORS: u64 = 32;
/// … and at least and at most so many. Further ones wait for their turn, and their time with them.
pub const CHECKS_MIN_MAX: (u64, u64) = (8, 256);
/// How long a target may take to end its side after a check, before the check's socket is closed.
/// Closing with unread bytes would reset, and targets write resets into their logs.
pub const CHECK_FAREWELL: Duration = Duration::from_secs(1);
/// Steps remembered of a check that has failed, the last ones.
pub const TRANSCRIPT_STEPS_MAX: usize = 16;
/// Bytes shown of each of them.
pub const TRANSCRIPT_BYTES_MAX: usize = 128;
/// A check that took so much longer than its deadline says nothing of the target: this process did
/// not run meanwhile.
pub const CHECK_LATE: Duration = Duration::from_millis(500);
/// Targets that went down and whose connections are not cut yet; further ones wait with their checks.
pub const DOWNS_MAX: usize = 64;
/// Steps in which a target that came up gets its share.
pub const SLOW_START_STEPS: u32 = 20;
/// `healthCheck.passive.failures`: below the `retries` of a few clients it would be one of them.
pub const PASSIVE_FAILURES_DEFAULT: NonZeroU8 = NonZeroU8::MIN.saturating_add(4);
/// `healthCheck.passive.ejectFor`.
pub const EJECT_FOR_DEFAULT: Duration = Duration::from_secs(30);
/// Longest ejection, however often it was doubled; longer only if `ejectFor` is.
pub const EJECT_FOR_MAX: Duration = Duration::from_secs(300);
/// `healthCheck.passive.maxEjected`, in percent: the other half has to carry all.
pub const EJECTED_MAX_DEFAULT: u8 = 50;
/// A reset within this time, before the target has sent a byte, counts as a failure of the target.
pub const EARLY_RESET: Duration = Duration::from_secs(1);
/// Failed connections with a longer pause between them are not in a row: a target that fails now and
/// then over a day does not fail.
pub const FAILURES_PAUSE: Duration = Duration::from_secs(60);
/// A target that fails but must not be ejected is asked about again after this time: what stands
/// against it changes no faster, and clients must not keep the control thread busy.
pub const EJECT_AGAIN: Duration = Duration::from_secs(1);
/// The log says at most once in this time that checks are not made for a shortage of our own.
pub const CHECK_SHORT_SAID: Duration = Duration::from_secs(60);

// ---- a core -----------------------------------------------------------------------------------

/// The coarse clock of a core: idle, half-closed and lifetime limits are checked this often.
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks the clock may jump at once: after the process was stopped (SIGSTOP, a frozen cgroup) time
/// that no peer could use does not count against it.
pub const TICKS_JUMP_MAX: u32 = 10;
/// Every connection is looked at once in this many ticks, so limits hold to 1 s at any count …
pub const SWEEP_TICKS: usize = 10;
/// … and at every tick while there are no more than this many.
pub const SWEEP_MIN: usize = 2048;
/// Commands of the control thread that a core carries out before connections get their turn.
pub const COMMANDS_PER_TURN: usize = 64;
/// Submission queue entries of a core's ring; the completion queue has eight times as many.
pub const RING_ENTRIES: u32 = 1024;
/// A core that has not shown a heartbeat for this long is reported.
pub const HEARTBEAT_LATE: Duration = Duration::from_secs(2);
/// Deaths of cores within [`DEATHS_WINDOW`] after which the process gives up, for its supervisor
/// to start it afresh.
pub const DEATHS_MAX: usize = 5;
/// See [`DEATHS_MAX`].
pub const DEATHS_WINDOW: Duration = Duration::from_secs(60);

// ---- control ----------------------------------------------------------------------------------

/// How long a removed listener still takes the handshakes that were under way, while new ones are
/// turned away; one round trip on any network we know.
pub const LISTENER_LINGER: Duration = Duration::from_millis(250);
/// How long start and reload retry an address that is in use, for the remains of a killed process.
pub const BIND_RETRY: Duration = Duration::from_secs(2);
/// Default of `run --drain-deadline`: below systemd's 90 s before it kills.
pub const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// After the drain deadline, how long the cut connections may take to be accounted for.
pub const CUT_GRACE: Duration = Duration::from_secs(2);

// ---- events and logs --------------------------------------------------------------------------

/// Event bytes a core collects before it hands them to the writer; it also does so at every tick.
pub const EVENT_BATCH_BYTES: usize = 64 << 10;
/// Batches waiting for the writer, over all cores; beyond it batches are dropped and counted.
pub const EVENT_BATCHES_MAX: usize = 128;
/// Bytes of events that wait for one output, what it is writing not among them; beyond it events are
/// dropped and counted. 8 MiB are some seconds of the most that a machine has, and an hour of a quiet
/// one.
pub const EVENT_QUEUE_BYTES_MAX: usize = 8 << 20;
/// Most outputs: each has a thread, or a connection.
pub const EVENT_OUTPUTS_MAX: usize = 16;
/// How long the events that are queued at the end of the process, or of an output that a reload
/// removes, may take to be written.
pub const EVENT_FLUSH_AT_END: Duration = Duration::from_secs(2);
/// Between two looks whether the file was renamed or removed; made only when there is an event.
pub const EVENT_FILE_LOOK: Duration = Duration::from_secs(1);
/// After an output has failed it is tried again after this time …
pub const EVENT_RETRY_FIRST: Duration = Duration::from_millis(100);
/// … each time twice as long, up to this for what is on this machine …
pub const EVENT_RETRY_HERE_MAX: Duration = Duration::from_secs(1);
/// … and up to this for what is on the network.
pub const EVENT_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a Unix datagram waits for a receiver whose queue is full before that counts as a failure.
pub const EVENT_DATAGRAM_WAIT: Duration = Duration::from_millis(500);
/// For one POST of events in all: connect, TLS, sending, and the answer.
pub const EVENT_POST: Duration = Duration::from_secs(10);
/// Largest body of a POST of events, in bytes, unless one event alone is larger.
pub const EVENT_POST_BYTES_MAX: usize = 1 << 20;
/// What is read of the answer to a POST of events, in bytes: it is thrown away, but a connection can
/// only be used again behind it.
pub const EVENT_ANSWER_BYTES_MAX: usize = 64 << 10;
/// `events.outputs[].batch`.
pub const EVENT_BATCH_DEFAULT: u32 = 1000;
/// See [`EVENT_BATCH_DEFAULT`].
pub const EVENT_BATCH_MAX: u32 = 10_000;
/// `events.outputs[].flush`.
pub const EVENT_FLUSH_DEFAULT: Duration = Duration::from_secs(1);
/// Longest `flush`: what waits is lost if the process is killed.
pub const EVENT_FLUSH_MAX: Duration = Duration::from_secs(60);
/// `events.outputs[].keep`.
pub const EVENT_KEEP_DEFAULT: u32 = 5;
/// Most files that are kept: each rotation renames all of them.
pub const EVENT_FILES_MAX: u32 = 100;
/// Least `maxSize`, in bytes: a batch of a core fits.
pub const EVENT_FILE_BYTES_LEAST: u64 = 64 << 10;
/// `events.interval`.
pub const EVENT_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// Least `events.interval`: every connection is looked at once in this time.
pub const EVENT_INTERVAL_LEAST: Duration = Duration::from_secs(1);
/// Log lines waiting for the sink; beyond it lines are dropped and counted.
pub const LOG_LINES_MAX: usize = 16 << 10;

// ---- TLS --------------------------------------------------------------------------------------

/// Bytes of a handshake received and not yet understood, where the peer sends certificates. rustls
/// takes messages of up to 64 KiB; a chain of certificates that is larger is none that anybody uses.
pub const HANDSHAKE_BYTES_MAX: usize = 80 << 10;
/// The same where it sends none: a record and a half.
pub const HANDSHAKE_BYTES_SMALL: usize = 24 << 10;
/// Largest message after the handshake: a ticket of at most 2¹⁶ bytes and its frame.
pub const TLS_MESSAGE_BYTES_MAX: usize = (64 << 10) + 512;
/// Messages without data (key updates, tickets, warnings, empty records) between two records with
/// data, before the peer is taken for one that only wants to keep us busy.
pub const TLS_IDLE_TALK_MAX: u32 = 64;
/// Attempts to renegotiate (TLS 1.2) that are refused on one connection before it is ended: a refusal
/// waits in memory while the peer does not read.
pub const TLS_REFUSALS_MAX: u32 = 64;
/// What a record without data counts in a direction's turn, in bytes: new keys cost some µs, as much
/// as carrying this many.
pub const TALK_BYTES: usize = 4 << 10;
/// Records sealed in one go: as much plaintext as the scratch buffer holds.
pub const SEAL_RECORDS: usize = 4;
/// The one buffer of a core in which records are sealed, in bytes: room for the longest head and tail
/// of each.
pub const SEALING_BYTES: usize = SEAL_RECORDS * ((16 << 10) + 13 + 17);
/// Handshakes under way at a time on one core; each holds some 30 KiB, and the worst that a client can
/// make of it is 24 KiB more (80 where it is asked for a certificate). Beyond it connections are refused, so that a flood of half-made handshakes leaves those that are made alone.
pub const HANDSHAKES_MAX: usize = 4096;
/// Most bytes kept of a client before its target is chosen: a hello of 64 KiB and what came with it.
pub const PREFIX_BYTES_MAX: usize = 96 << 10;
/// How long a client that was refused may take to hear why before its connection is reset.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes read and thrown away meanwhile: closing with unread bytes would reset, and the client might
/// never see what we said.
pub const FAREWELL_BYTES_MAX: usize = 64 << 10;
/// Plaintext pieces sent in one call; a buffer with more of them is pushed together first.
pub const PIECES_MAX: usize = 16;

// ---- names ------------------------------------------------------------------------------------

/// Longest pattern, in bytes: longer ones are lists of names, which are rules of their own.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Largest compiled pattern, in bytes. `.*read.*` needs 2 KiB; `(a{1000}){1000}` is refused.
pub const PATTERN_COMPILED_MAX: usize = 256 << 10;
/// Patterns that are looked for at once.
pub const PATTERN_SET_MAX: usize = 64;
/// Largest compiled set of patterns, in bytes; what is larger is split.
pub const PATTERN_SET_COMPILED_MAX: usize = 2 << 20;
/// What a set may remember of the names it has seen, in bytes, for each core that asks at one time.
pub const PATTERN_SET_CACHE_MAX: usize = 256 << 10;
/// Longest ALPN protocol name, in bytes (RFC 7301 §3.1).
pub const ALPN_BYTES_MAX: usize = 255;

// ---- the first bytes --------------------------------------------------------------------------

/// Bytes in which a ClientHello must end, record headers included. A post-quantum hello has 1.8 KiB;
/// what is kept until the hello is whole is kept per connection.
pub const HELLO_BYTES_MAX: usize = 64 << 10;
/// Body of a plaintext TLS record, in bytes (RFC 8446 §5.1).
pub const PLAINTEXT_RECORD_BYTES_MAX: usize = 16 << 10;
/// Bytes in which an HTTP/1.x request head must end, its empty line included; the cookies of common
/// servers end at 8 to 16 KiB too.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest label of a host name, in bytes (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest startup message a PostgreSQL server takes, in bytes (its `MAX_STARTUP_PACKET_LENGTH`).
pub const POSTGRES_STARTUP_BYTES_MAX: u32 = 10_000;
/// Longest cancel request of PostgreSQL, in bytes: 12 and a key of up to 256 (protocol 3.2).
pub const POSTGRES_CANCEL_BYTES_MAX: u32 = 12 + 256;
/// Longest text of an error told to a PostgreSQL client, in bytes: a line or two on a screen.
pub const POSTGRES_ERROR_BYTES_MAX: usize = 256;
/// Longest line of the PROXY protocol's version 1, in bytes, its CRLF included (its specification,
/// section 2.1).
pub const PROXY_LINE_BYTES_MAX: usize = 107;
/// Largest header of version 2 that is read or written, in bytes. Addresses, names and a client's
/// certificate fit; nginx ends there too, while the format goes to 64 KiB.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;
/// Longest common name of a client's certificate that targets are told, in bytes. X.520 allows 64
/// characters; a longer one is left out.
pub const PROXY_NAME_BYTES_MAX: usize = 256;
/// Most bytes of a client that are read to leave together with the header for its target, so that a
/// target which reads once has both: a segment or a few. What follows goes the usual way.
pub const PROXY_COMPANY_BYTES_MAX: usize = 16 << 10;
/// Longest unique ID in a header of version 2, in bytes (its specification, section 2.2.5).
pub const PROXY_UNIQUE_ID_BYTES_MAX: usize = 128;

// ---- certificates -----------------------------------------------------------------------------

/// Largest file of certificates or keys read, in bytes. The bundle of all public roots is below
/// 1 MiB.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 4 << 20;
/// Largest revocation list read, in bytes. Large public authorities have lists of some 10 MiB.
pub const CRL_FILE_BYTES_MAX: u64 = 64 << 20;
/// Most certificates taken from one directory; one for each of 10,000 services, twice.
pub const CERTIFICATES_PER_DIRECTORY_MAX: usize = 20_000;
/// Most certificates in one chain. Public chains have 2 to 4; a whole bundle of roots sent to every
/// client is a mistake.
pub const CHAIN_MAX: usize = 10;
/// How long before its end a certificate is warned about: whoever renews by hand still can.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);
/// Sum of the names of authorities that clients are told, in bytes; beyond it they are told none
/// and try what they have. The message has room for 64 KiB.
pub const AUTHORITY_HINT_BYTES_MAX: usize = 16 << 10;
/// Names of targets whose TLS sessions are kept for resumption, for each distinct set of upstream
/// TLS options. A name has up to 8 tickets of about 2 KiB, so 16 MiB at most.
pub const UPSTREAM_SESSIONS_MAX: usize = 1024;
/// Tickets that a TLS 1.3 client is given after its handshake: one for each of two connections that
/// it may open next.
pub const TICKETS_SENT: usize = 2;
/// Files count as changed when nothing has happened to them for this long: a pair is two writes.
pub const WATCH_QUIET: Duration = Duration::from_millis(300);
/// … and after this long at the latest, however busy their directory is.
pub const WATCH_QUIET_MAX: Duration = Duration::from_secs(3);
/// Between two looks at the files where the kernel does not report changes.
pub const WATCH_POLL: Duration = Duration::from_secs(10);
/// Between two readings of certificates though no file has changed: what expires is warned of again.
pub const MATERIAL_REREAD: Duration = Duration::from_secs(12 * 3600);

// ---- the admin API ----------------------------------------------------------------------------

/// Most entries of `admin.listen`: an address or two, and a Unix socket.
pub const ADMIN_LISTENS_MAX: usize = 4;
/// `admin.unixMode`: the owner alone.
pub const UNIX_MODE_DEFAULT: u32 = 0o600;
/// Connections to one listener of the admin API at a time: a scraper, a few people and their tools. For
/// a further one the oldest that has shown no token gives way, so that idle ones cannot keep an operator
/// out; each listener has its own, so that a crowd at one does not matter at another.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Of them those of one source (an IPv4 address, 64 bits of IPv6) that is not this machine.
pub const ADMIN_CONNECTIONS_PER_SOURCE_MAX: usize = 16;
/// Descriptors of one listener of the admin API: itself, its connections, and one that is being taken.
pub const ADMIN_DESCRIPTORS: u64 = ADMIN_CONNECTIONS_MAX as u64 + 2;
/// How long the head of an admin request may take, and a connection may rest between requests.
pub const ADMIN_HEAD: Duration = Duration::from_secs(5);
/// How long the TLS handshake may take.
pub const ADMIN_HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a request may take from its head to the head of its answer, its body included.
pub const ADMIN_REQUEST: Duration = Duration::from_secs(20);
/// How long an answer may wait for its reader to take some of it.
pub const ADMIN_WRITE: Duration = Duration::from_secs(5);
/// How long a connection to the admin API lives, idle or not.
pub const ADMIN_LIFETIME: Duration = Duration::from_secs(120);
/// Requests on one connection, after which it is closed: one that sends without waiting for answers has
/// to stand in line again.
pub const ADMIN_REQUESTS_MAX: usize = 200;
/// Largest head of an admin request, in bytes.
pub const ADMIN_HEAD_BYTES_MAX: usize = 16 << 10;
/// Largest body of an admin request, in bytes, where its path says nothing else.
pub const ADMIN_BODY_BYTES_MAX: usize = 1 << 20;
/// Largest text of an error that is put into JSON, in bytes; none of them comes near.
pub const ADMIN_ERROR_BYTES_MAX: usize = 4 << 10;
/// The log speaks at most once in this time of admin requests that were refused; all are counted.
pub const ADMIN_REFUSED_SAID: Duration = Duration::from_secs(1);
/// A target or service whose connections are due to end because it drains is looked at this often, until
/// none is left: some may have been on their way.
pub const DRAIN_AGAIN: Duration = Duration::from_secs(1);
/// Largest token file, in bytes.
pub const TOKEN_BYTES_MAX: u64 = 4096;
/// Shortest token, in bytes: 16 of base64 are 96 bits.
pub const TOKEN_BYTES_MIN: usize = 16;
/// Slots of a core's table that one page of its live connections looks at: some 100 µs, after which
/// connections run in between.
pub const PAGE_SLOTS: usize = 256;
/// Most connections that one answer lists; more are had by narrowing the question.
pub const LISTED_MAX: usize = 10_000;
/// How long the control thread waits for a core's answer. One that takes longer is stuck.
pub const CORE_ANSWER: Duration = Duration::from_secs(2);
/// Questions to the cores that wait at a time.
pub const QUESTIONS_MAX: usize = 64;
/// Changes of services, plans and reloads that wait for the control loop at a time.
pub const REQUESTS_MAX: usize = 64;
/// How long a caller waits for one of them: names may have to be resolved and an address to become
/// free ([`RESOLVE_START`], [`BIND_RETRY`]), for each that was asked before.
pub const REQUEST_ANSWER: Duration = Duration::from_secs(30);
/// Largest body of a request that is a whole configuration or many services, in bytes: 10,000 services
/// of 1.6 KiB.
pub const MANY_BYTES_MAX: usize = 16 << 20;
/// Most services that one bulk request changes: each is written, synced and published by itself.
pub const BULK_MAX: usize = 1000;
/// Most operations of one JSON Patch, and a document may not grow beyond [`SERVICE_BYTES_MAX`] by any:
/// copying a document into itself doubles it.
pub const PATCH_OPERATIONS_MAX: usize = 1000;
/// Most paths that a plan names for one service; what differs in more is another service.
pub const PLAN_PATHS_MAX: usize = 20;
/// How long the commands that ask a running proxy wait for its answer.
pub const ADMIN_ANSWER: Duration = Duration::from_secs(10);
/// Connections that `top` lists: more than anybody scrolls through.
pub const TOP_CONNECTIONS_MAX: u32 = 1000;
/// Looks whose bytes `top` draws: a bar each on the widest terminals.
pub const TOP_HISTORY: usize = 300;
/// Longest filter of `top`, in bytes.
pub const TOP_FILTER_BYTES_MAX: usize = 64;
/// How long they wait for a reload or a plan: names are waited for, and 10,000 services compared.
pub const ADMIN_CHANGE: Duration = Duration::from_secs(60);
/// Largest answer that they read, in bytes: the targets of 10,000 services.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 64 << 20;

/// Bytes of one file that a provider names. A cluster's manifests in one file have some; this bounds
/// what a wrong path costs.
pub const FOREIGN_BYTES_MAX: u64 = 64 << 20;

/// Values in one YAML file, those that aliases copy among them: aliases of aliases would otherwise
/// make gigabytes of a few lines.
pub const YAML_NODES_MAX: usize = 2_000_000;

/// For one request to Docker's daemon: it answers in milliseconds, unless its host is in trouble.
pub const DOCKER_REQUEST: Duration = Duration::from_secs(10);
/// Events of Docker are waited out for this long before containers are looked at: a restart has several.
pub const DOCKER_SETTLE: Duration = Duration::from_millis(100);
/// But no longer than this after the first of them.
pub const DOCKER_SETTLE_MAX: Duration = Duration::from_secs(1);
/// Before a daemon that does not answer is asked again; doubled each time …
pub const DOCKER_RETRY_MIN: Duration = Duration::from_millis(250);
/// … up to this.
pub const DOCKER_RETRY_MAX: Duration = Duration::from_secs(5);
/// All containers are looked at again this often, events or not: a stream of events that died without
/// a word is noticed.
pub const DOCKER_LOOK: Duration = Duration::from_secs(60);
/// How far back events are asked for when a stream of them begins, in seconds: what happened between
/// the first look and the stream, and the difference of two clocks.
pub const DOCKER_SINCE: i64 = 60;
/// Containers with labels for the proxy that are looked at: each is a request, and targets.
pub const DOCKER_CONTAINERS_MAX: usize = 4096;
/// Services of one listener that take over from each other by priority: as many as a rule has tiers.
pub const PRIORITIES_MAX: usize = 16;

/// Rounds in which services of providers that do not go with others are left out one by one; after
/// these all that are left are left out at once. Each round checks the whole configuration.
pub const COMPOSE_ROUNDS_MAX: usize = 32;

/// What a live provider may take to end: time for one request that gives a lease back.
pub const PROVIDER_END: Duration = Duration::from_secs(2);

/// How long after its start a process says that it is not ready because a live provider has told
/// nothing yet. After that what is served from files counts for more than what may never come.
pub const PROVIDER_FIRST_WAIT: Duration = Duration::from_secs(30);

// ---- a Kubernetes cluster ---------------------------------------------------------------------

/// `leaderElection.leaseDuration`, as the controllers of Kubernetes have it.
pub const LEASE_DURATION_DEFAULT: Duration = Duration::from_secs(15);
/// Least and most `leaderElection.leaseDuration`: leases count in seconds, and a status that nobody
/// writes for longer than some minutes is a fault.
pub const LEASE_DURATION_MIN_MAX: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(600));
/// How long the end of the proxy waits for its lease to be given back; less than [`PROVIDER_END`].
pub const LEASE_RELEASE: Duration = Duration::from_millis(1500);
/// After this time an API server ends a watch, which is then taken up where it ended; one that says
/// nothing at all for a little longer is given up. It bounds how long a connection that died without
/// a word goes unnoticed.
pub const CLUSTER_WATCH: Duration = Duration::from_secs(120);
/// How long an answer of an API server may be silent: longer than any watch.
pub const CLUSTER_SILENCE: Duration = Duration::from_secs(130);
/// One request to an API server that is no watch.
pub const CLUSTER_REQUEST: Duration = Duration::from_secs(10);
/// Which kinds the cluster has is asked this often: CRDs are installed once.
pub const CLUSTER_KINDS: Duration = Duration::from_secs(30);
/// Between two tries to reach a cluster that could not be reached.
pub const CLUSTER_AGAIN: Duration = Duration::from_secs(2);
/// After so many failures in a row the log says that a kind cannot be watched: watches break off and
/// are taken up as a matter of course.
pub const CLUSTER_FAILURES_TOLD: u32 = 3;
/// Objects that have been heard of and not been looked at yet.
pub const CLUSTER_NEWS_MAX: usize = 1024;
/// A cluster's objects are served when none has changed for this time: a rollout changes many in a row.
pub const CLUSTER_QUIET: Duration = Duration::from_millis(50);
/// They are served after this time even if they never cease to change.
pub const CLUSTER_QUIET_MAX: Duration = Duration::from_millis(500);
/// Between two writes of statuses: a cluster with a thousand routes is told within a minute, and the
/// API server has other clients.
pub const STATUS_PAUSE: Duration = Duration::from_millis(50);
/// Before a status that could not be written is tried again.
pub const STATUS_AGAIN: Duration = Duration::from_secs(5);
/// Tries of one status that others change at the same time.
pub const STATUS_CONFLICTS_MAX: u32 = 5;
