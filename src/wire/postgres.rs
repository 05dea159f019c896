//! PostgreSQL's requests before TLS.
