//! What `INFO` says: [`Info`].

use std::collections::BTreeMap;

use crate::DriverError;

/// The oldest version that is known to say and do what is needed.
pub(super) const NEEDED: (u32, u32) = (4, 0);

/// The fields of an `INFO`.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(BTreeMap<String, String>);

/// A replica as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) address: String,
    pub(super) online: bool,
    pub(super) lag_s: Option<u64>,
}

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub(super) fn bytes(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Whether a field is `1`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    pub(super) fn is_replica(&self) -> bool {
        self.text("role") == Some("slave")
    }

    /// Name and version of the server.
    pub(super) fn version(&self) -> String {
        match self.text("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", self.text("redis_version").unwrap_or("of unknown version")),
        }
    }

    /// Refuses what is older than `needed`.
    pub(super) fn check_version(&self, server: &str, needed: (u32, u32)) -> Result<(), DriverError> {
        let version = self.text("redis_version").unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if found >= needed {
            return Ok(());
        }
        Err(DriverError::TooOld {
            server: server.to_owned(),
            found: self.version(),
            needed: format!("Redis {}.{}", needed.0, needed.1),
        })
    }

    /// The replicas of a primary, in the order of their addresses.
    pub(super) fn replicas(&self) -> Vec<Replica> {
        let is_replica =
            |name: &str| name.strip_prefix("slave").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let told = self.0.iter().filter(|(name, _)| is_replica(name));
        let mut replicas: Vec<_> = told.filter_map(|(_, value)| replica(value)).collect();
        replicas.sort_by(|a, b| a.address.cmp(&b.address));
        replicas
    }

    /// Calls and µs of each command so far.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.0.iter().filter_map(|(name, value)| {
            let command = name.strip_prefix("cmdstat_")?;
            Some((command, part(value, "calls")?.parse().ok()?, part(value, "usec")?.parse().ok()?))
        })
    }
}

fn replica(value: &str) -> Option<Replica> {
    let (ip, port) = (part(value, "ip")?, part(value, "port")?);
    let address = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let online = part(value, "state") == Some("online");
    Some(Replica { address, online, lag_s: part(value, "lag").and_then(|lag| lag.parse().ok()) })
}

/// The value of one of `a=1,b=2`.
fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_replicas_and_commands_are_read() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nconnected_slaves:2\r\nslave_expires:3\r\n\
             slave1:ip=10.0.0.7,port=6379,state=online,offset=84,lag=1\r\n\
             slave0:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0\r\n\
             cmdstat_config|get:calls=2,usec=40,usec_per_call=20.00,rejected_calls=0,failed_calls=0\r\n",
        );
        assert!(!info.is_replica() && info.check_version("x", NEEDED).is_ok());
        let replicas = info.replicas();
        assert_eq!(replicas.len(), 2);
        assert_eq!(replicas[0], Replica { address: "10.0.0.7:6379".into(), online: true, lag_s: Some(1) });
        assert_eq!((replicas[1].address.as_str(), replicas[1].online), ("[::1]:6380", false));
        assert_eq!(info.commands().collect::<Vec<_>>(), [("config|get", 2.0, 40.0)]);
    }

    #[test]
    fn an_old_server_is_refused_with_what_would_do() {
        let error = Info::parse("redis_version:3.2.12\r\n").check_version("x:1", NEEDED).unwrap_err();
        assert_eq!(error.to_string(), "x:1 is version Redis 3.2.12; Redis 4.0 or newer is needed");
        assert!(
            Info::parse("redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n").check_version("x", (7, 0)).is_ok()
        );
    }
}
