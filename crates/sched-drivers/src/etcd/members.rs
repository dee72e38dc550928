//! Who is in an etcd cluster, and whom to back up: [`EtcdMembers`], [`EtcdMember`].

use super::cluster::{EtcdCluster, trimmed};
use super::gateway::{Gateway, Listed, MemberStatus};
use crate::DriverError;
use crate::server::{MemberSource, ServerMember};

/// What a member does in its cluster, in the words of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EtcdRole {
    /// It votes and follows.
    Follower,
    /// Its disk carries the heartbeats.
    Leader,
    /// It does not vote yet, and makes no snapshots.
    Learner,
}

impl EtcdRole {
    /// Its name in the profile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Learner => "learner",
        }
    }
}

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdMember {
    /// Its number.
    pub id: u64,
    /// Its name; empty before its first start.
    pub name: String,
    /// Where it was asked: the first address that it advertises to clients and that answers; else the first of all.
    pub url: String,
    /// Its role, as far as it is known.
    pub role: EtcdRole,
    /// What it said of itself; `None` when it did not answer.
    pub state: Option<EtcdState>,
    /// Addresses that it advertises and that were not asked: they are not `https://`, and an address of the cluster is.
    /// Login and token would go there in clear.
    pub not_asked: Vec<String>,
}

/// What a member that answers says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdState {
    /// Its version.
    pub version: String,
    /// The number of its cluster.
    pub cluster: u64,
    /// The revision of its keys.
    pub revision: u64,
    /// The size of its database in bytes, free pages included.
    pub db_bytes: u64,
    /// Entries of the log that another member has and this one has not applied yet.
    pub behind: u64,
    /// Alarms and the like, such as `NOSPACE` or having no leader.
    pub errors: Vec<String>,
}

impl EtcdMember {
    /// Whether it answers, complains of nothing, and lacks no more than `most` entries of the log.
    pub fn caught_up(&self, most: u64) -> bool {
        self.state.as_ref().is_some_and(|state| state.errors.is_empty() && state.behind <= most)
    }
}

/// Tells the members of an etcd cluster with their roles. Where one of the cluster's addresses is `https://`, members are asked
/// at no other address that they advertise; one that advertises nothing else is not healthy, and
/// [`EtcdMember::not_asked`] says why.
#[derive(Debug)]
pub struct EtcdMembers {
    cluster: EtcdCluster,
    max_behind: u64,
}

impl EtcdMembers {
    /// Entries that a member may lack: a busy cluster writes some hundreds while its members are asked in turn.
    pub(super) const MAX_BEHIND: u64 = 1000;

    /// The members of `cluster`.
    pub fn new(cluster: EtcdCluster) -> Self {
        Self { cluster, max_behind: Self::MAX_BEHIND }
    }

    /// Sets how many entries of the log a healthy member may lack. Default 1000.
    #[must_use]
    pub fn max_behind(mut self, entries: u64) -> Self {
        self.max_behind = entries;
        self
    }

    /// All members, in the order of their numbers, with what each says of itself. One that does not answer costs up to
    /// a time-out.
    ///
    /// # Errors
    /// When none of the cluster's addresses answers, or the login is wrong.
    pub fn states(&self) -> Result<Vec<EtcdMember>, DriverError> {
        ask_all(&mut Gateway::new(&self.cluster)?, &self.cluster.endpoints)
    }
}

impl MemberSource for EtcdMembers {
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError> {
        let told = |member: EtcdMember| {
            let healthy = member.caught_up(self.max_behind);
            ServerMember::new(member.url, member.role.name()).healthy(healthy)
        };
        Ok(self.states()?.into_iter().map(told).collect())
    }
}

/// Asks the first endpoint that answers for the list, and each member for its state.
pub(super) fn ask_all(gateway: &mut Gateway, endpoints: &[String]) -> Result<Vec<EtcdMember>, DriverError> {
    let mut last = None;
    let mut listed = None;
    for url in endpoints {
        match gateway.members(url) {
            Ok(members) => {
                listed = Some(members);
                break;
            }
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    let Some(mut listed) = listed else {
        return Err(last.unwrap_or_else(|| DriverError::Setting {
            what: "the addresses of the cluster".into(),
            problem: "there is none".into(),
        }));
    };
    listed.sort_by_key(|member| member.id);
    let encrypted = endpoints.iter().any(|url| is_https(url));
    let mut members = Vec::with_capacity(listed.len());
    let mut left_out = Vec::with_capacity(listed.len());
    for mut listed in listed {
        let (asked, not_asked) =
            std::mem::take(&mut listed.urls).into_iter().partition(|url| !encrypted || is_https(url));
        listed.urls = asked;
        let answer = answer_of(gateway, &listed);
        members.push((listed, answer));
        left_out.push(not_asked);
    }
    let told = |(mut member, not_asked): (EtcdMember, Vec<String>)| {
        if member.url.is_empty() {
            member.url = not_asked.first().map(|url| trimmed(url)).unwrap_or_default();
        }
        EtcdMember { not_asked, ..member }
    };
    Ok(assess(members).into_iter().zip(left_out).map(told).collect())
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// What a member answers at the first of its addresses that does.
fn answer_of(gateway: &mut Gateway, listed: &Listed) -> Option<(String, MemberStatus)> {
    listed.urls.iter().find_map(|url| {
        let url = trimmed(url);
        let status = gateway.status(&url).ok()?;
        // Addresses that several members advertise lead to one of them.
        (status.header.member_id == listed.id).then_some((url, status))
    })
}

/// Roles and lags out of the answers.
fn assess(answers: Vec<(Listed, Option<(String, MemberStatus)>)>) -> Vec<EtcdMember> {
    let told = || answers.iter().filter_map(|(_, answer)| answer.as_ref().map(|(_, status)| status));
    let newest = told().map(|status| status.raft_index).max().unwrap_or(0);
    // An old leader that has not noticed yet knows fewer entries than the new one.
    let leader = told().filter(|s| s.leader != 0).max_by_key(|s| s.raft_index).map(|s| s.leader);
    let member = |(listed, answer): (Listed, Option<(String, MemberStatus)>)| {
        let first = listed.urls.first().map(|url| trimmed(url)).unwrap_or_default();
        let learner = listed.learner || answer.as_ref().is_some_and(|(_, status)| status.learner);
        let role = match (learner, leader == Some(listed.id)) {
            (true, _) => EtcdRole::Learner,
            (false, true) => EtcdRole::Leader,
            (false, false) => EtcdRole::Follower,
        };
        let (url, state) = match answer {
            None => (first, None),
            Some((url, status)) => {
                let mut errors = status.errors;
                if status.leader == 0 {
                    errors.push("it has no leader".into());
                }
                let state = EtcdState {
                    version: status.version,
                    cluster: status.header.cluster_id,
                    revision: status.header.revision,
                    db_bytes: status.db_size,
                    behind: newest.saturating_sub(status.applied),
                    errors,
                };
                (url, Some(state))
            }
        };
        EtcdMember { id: listed.id, name: listed.name, url, role, state, not_asked: Vec::new() }
    };
    answers.into_iter().map(member).collect()
}

/// The member to back up: a caught-up follower, the preferred one if it is that; a caught-up leader only when no
/// follower is.
pub(super) fn choose<'a>(
    members: &'a [EtcdMember],
    preferred: Option<&str>,
    max_behind: u64,
) -> Option<&'a EtcdMember> {
    let fit = |member: &&EtcdMember| member.role != EtcdRole::Learner && member.caught_up(max_behind);
    members.iter().filter(fit).min_by_key(|member| {
        let behind = member.state.as_ref().map_or(u64::MAX, |state| state.behind);
        (member.role == EtcdRole::Leader, preferred != Some(member.url.as_str()), behind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(
        id: u64,
        leader: u64,
        raft_index: u64,
        applied: u64,
    ) -> (Listed, Option<(String, MemberStatus)>) {
        let text = format!(
            r#"{{"header":{{"member_id":"{id}"}},"version":"3.4.23","leader":"{leader}",
                "raftIndex":"{raft_index}","raftAppliedIndex":"{applied}"}}"#
        );
        let (listed, _) = silent(id);
        let url = listed.urls[0].clone();
        (listed, Some((url, serde_json::from_str(&text).unwrap())))
    }

    fn silent(id: u64) -> (Listed, Option<(String, MemberStatus)>) {
        (Listed { id, name: format!("m{id}"), urls: vec![format!("http://m{id}")], learner: false }, None)
    }

    fn chosen(members: &[EtcdMember], preferred: Option<&str>) -> Option<u64> {
        choose(members, preferred, 1000).map(|member| member.id)
    }

    #[test]
    fn a_caught_up_follower_goes_before_the_leader() {
        let members =
            assess(vec![answered(1, 1, 500, 500), answered(2, 1, 499, 490), answered(3, 1, 500, 495)]);
        assert_eq!(
            members.iter().map(|m| m.role.name()).collect::<Vec<_>>(),
            ["leader", "follower", "follower"]
        );
        assert_eq!(chosen(&members, None), Some(3), "the one that lacks least");
        assert_eq!(chosen(&members, Some("http://m2")), Some(2));
        assert_eq!(chosen(&members, Some("http://m1")), Some(3), "the leader's disk is left alone");
    }

    #[test]
    fn the_leader_is_taken_only_when_nobody_else_is_fit() {
        let mut members = assess(vec![answered(1, 1, 9000, 9000), answered(2, 1, 5000, 5000), silent(3)]);
        assert_eq!(chosen(&members, Some("http://m2")), Some(1), "4000 entries behind, and one is down");
        members[0].role = EtcdRole::Learner;
        assert_eq!(chosen(&members, None), None);
    }

    #[test]
    fn a_member_without_leader_is_not_fit() {
        let members = assess(vec![answered(1, 0, 10, 10), silent(2), silent(3)]);
        assert_eq!(chosen(&members, None), None);
        assert_eq!(members[0].state.as_ref().unwrap().errors, ["it has no leader"]);
    }
}
