//! How a server replicates: [`Channel`].

use std::collections::HashMap;
use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, Row, Value};

use super::fault;
use super::version::{Product, ServerVersion};
use crate::DriverError;

/// One primary that a server follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    /// The primary's address.
    pub(super) primary: String,
    /// How far it is behind; `None` when it stands, or has lost its primary: then nobody knows.
    pub(super) lag: Option<Duration>,
    /// Whether it hears from its primary.
    pub(super) connected: bool,
}

/// The primaries that the server follows; none of a primary.
pub(super) fn channels(
    connection: &mut Conn,
    server: &str,
    version: ServerVersion,
) -> Result<Vec<Channel>, DriverError> {
    let question = match version.product {
        Product::MariaDb => "SHOW ALL SLAVES STATUS",
        Product::MySql if version.at_least(8, 4) => "SHOW REPLICA STATUS",
        Product::MySql => "SHOW SLAVE STATUS",
    };
    let rows: Vec<Row> = connection.query(question).map_err(|error| fault::of_client(server, error))?;
    Ok(rows.iter().map(|row| channel(&columns(row))).collect())
}

/// The values of a row by the names of their columns; without those that are NULL.
pub(super) fn columns(row: &Row) -> HashMap<String, String> {
    let names = row.columns_ref().iter().map(|column| column.name_str().into_owned());
    let values = (0..row.len()).map(|index| match row.as_ref(index) {
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    names.zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
}

/// From a row of a replica's status, in the old words and in the new ones.
fn channel(row: &HashMap<String, String>) -> Channel {
    let value = |old: &str, new: &str| row.get(old).or_else(|| row.get(new)).map_or("", String::as_str);
    let applies = value("Slave_SQL_Running", "Replica_SQL_Running") == "Yes";
    let connected = value("Slave_IO_Running", "Replica_IO_Running") == "Yes";
    let seconds = value("Seconds_Behind_Master", "Seconds_Behind_Source").parse().ok();
    let (host, port) = (value("Master_Host", "Source_Host"), value("Master_Port", "Source_Port"));
    let lag = seconds.filter(|_| applies && connected).map(Duration::from_secs);
    Channel { primary: format!("{host}:{port}"), lag, connected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn both_dialects_are_read() {
        let old = row(&[
            ("Master_Host", "a"),
            ("Master_Port", "3306"),
            ("Slave_IO_Running", "Yes"),
            ("Slave_SQL_Running", "Yes"),
            ("Seconds_Behind_Master", "7"),
        ]);
        let new = row(&[
            ("Source_Host", "a"),
            ("Source_Port", "3306"),
            ("Replica_IO_Running", "Yes"),
            ("Replica_SQL_Running", "Yes"),
            ("Seconds_Behind_Source", "7"),
        ]);
        let is = Channel { primary: "a:3306".into(), lag: Some(Duration::from_secs(7)), connected: true };
        assert_eq!((channel(&old), channel(&new)), (is.clone(), is));
    }

    #[test]
    fn a_replica_that_stands_is_not_zero_behind() {
        let mut stands = row(&[("Slave_IO_Running", "Yes"), ("Slave_SQL_Running", "No")]);
        assert_eq!(channel(&stands).lag, None);
        // Some versions go on telling 0.
        stands.insert("Seconds_Behind_Master".into(), "0".into());
        assert_eq!(channel(&stands).lag, None);
        let cut = row(&[
            ("Slave_IO_Running", "Connecting"),
            ("Slave_SQL_Running", "Yes"),
            ("Seconds_Behind_Master", "0"),
        ]);
        assert_eq!((channel(&cut).lag, channel(&cut).connected), (None, false));
    }
}
