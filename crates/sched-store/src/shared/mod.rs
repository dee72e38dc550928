//! Several schedulers that share one fleet through PostgreSQL.
