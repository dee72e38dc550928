//! What the configuration knows of who is to be backed up: from a [`JobSpec`] to [`Request`]s.

use sched_core::{
    BackupKind, DestinationName, GroupName, HostName, InstanceName, JobSpec, JobTerms, Kinds, Member,
    ResourceName, TechnologyName, TenantName,
};

use crate::error::PolicyError;
use crate::fleet::{Cluster, Instance, host_of};
use crate::policies::{Policies, Resolved};
use crate::values::Effective;

/// A request that is ready for the engine, and what the engine must have been told before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// What is asked for, with all that the configuration says of where and what it is.
    pub spec: JobSpec,
    /// Under which terms it runs.
    pub terms: JobTerms,
    /// Groups that the request counts against, and how many of each may run.
    pub limits: Vec<(GroupName, u32)>,
    /// Resources that it takes one of at the host it runs on, and how much each host has: how many runs of a technology
    /// a host may have, whichever member is chosen.
    pub host_limits: Vec<(HostName, ResourceName, u64)>,
}

impl Policies {
    /// What a request comes to: one request, or one for each member where every member is backed up.
    ///
    /// What the request says itself counts; the rest comes from the configuration: host, volume, destination, tenant,
    /// size (of full backups), members by role, ceiling, groups. A request for the name of a cluster takes one of its
    /// members, or all.
    ///
    /// # Errors
    /// As [`effective`](Self::effective), and when no member of the cluster has one of the roles.
    pub fn requests(&self, mut spec: JobSpec) -> Result<Vec<Request>, PolicyError> {
        spec.technology = self.canonical_name(&spec.technology)?;
        let effective = self.effective(&spec)?.clone();
        if self.instances.contains_key(&spec.instance) {
            return Ok(vec![self.request(spec, &effective)?]);
        }
        let name = GroupName::from(spec.instance.as_str());
        let Some(cluster) = self.clusters.get(&name).filter(|_| spec.members.is_empty()) else {
            return Ok(vec![self.request(spec, &effective)?]);
        };
        let members = self.by_role(&name, &effective)?;
        if effective.every_member {
            let of_member = |(instance, _): (&InstanceName, _)| {
                let mut spec = spec.clone();
                spec.instance = instance.clone();
                let effective = self.effective(&spec)?.clone();
                self.request(spec, &effective)
            };
            return members.into_iter().map(of_member).collect();
        }
        let member = |(name, about)| Member::new(InstanceName::clone(name), host_of(name, about));
        spec.members = members.into_iter().map(member).collect();
        spec.patience = effective.patience;
        self.placed(&mut spec, None, Some(&cluster.entry.about));
        Ok(vec![self.limited(spec, &effective, Some(&name))])
    }

    /// The members of a cluster that may be backed up, the best first. Those of one role, and those without, are in
    /// order of their names.
    pub(crate) fn by_role(
        &self,
        cluster: &GroupName,
        effective: &Effective,
    ) -> Result<Vec<(&InstanceName, &Instance)>, PolicyError> {
        let members = self.members.get(cluster).into_iter().flatten();
        let known = members.filter_map(|name| self.instances.get_key_value(name));
        let about = known.map(|(name, member)| (name, &member.entry.about));
        let rank = |about: &Instance| match &about.role {
            Some(role) if !effective.roles.is_empty() => {
                effective.roles.iter().position(|known| known == role)
            }
            _ => Some(effective.roles.len()),
        };
        let ranked = about.filter_map(|(name, about)| Some((rank(about)?, name, about)));
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, name, _)| (*rank, *name));
        if ranked.is_empty() {
            let (cluster, roles) = (cluster.clone(), effective.roles.join(", "));
            return Err(PolicyError::NoMember { cluster, roles });
        }
        Ok(ranked.into_iter().map(|(_, name, about)| (name, about)).collect())
    }

    fn request(&self, mut spec: JobSpec, effective: &Effective) -> Result<Request, PolicyError> {
        let instance = self.instances.get_key_value(&spec.instance);
        let cluster = instance.and_then(|(_, instance)| instance.entry.about.cluster.as_ref());
        let about = cluster.and_then(|cluster| self.clusters.get(cluster));
        let about = about.map(|Resolved { entry, .. }| &entry.about);
        self.placed(&mut spec, instance.map(|(name, instance)| (name, &instance.entry.about)), about);
        Ok(self.limited(spec, effective, cluster))
    }

    /// Fills in where it is and where its backups go.
    fn placed(
        &self,
        spec: &mut JobSpec,
        instance: Option<(&InstanceName, &Instance)>,
        cluster: Option<&Cluster>,
    ) {
        let of_instance = instance.map(|(_, about)| about);
        if let Some((name, about)) = instance {
            if spec.host == HostName::default() {
                spec.host = host_of(name, about);
            }
            spec.volume = spec.volume.take().or_else(|| about.volume.clone());
            if spec.kind == BackupKind::Full {
                spec.size_bytes = spec.size_bytes.or(about.size.map(|size| size.0));
            }
        }
        let destination = || -> Option<DestinationName> {
            let own = of_instance.and_then(|about| about.destination.clone());
            own.or_else(|| cluster?.destination.clone())
        };
        spec.destination = spec.destination.take().or_else(destination);
        if spec.tenant == TenantName::default() {
            let own = of_instance.and_then(|about| about.tenant.clone());
            let tenant = own.or_else(|| cluster?.tenant.clone());
            spec.tenant = tenant.unwrap_or_default();
        }
    }

    /// Fills in what it is limited by.
    fn limited(&self, mut spec: JobSpec, effective: &Effective, cluster: Option<&GroupName>) -> Request {
        let ceiling = effective.ceiling.map(|ceiling| ceiling.0);
        spec.max_bytes_per_sec = [spec.max_bytes_per_sec, ceiling].into_iter().flatten().min();
        let technology = spec.technology.clone();
        let mut limits = Vec::new();
        let apart = match cluster {
            Some(cluster) => {
                // A limit for each number: kinds that have another one do not count against this.
                let most = effective.max_per_cluster;
                limits.extend(most.map(|most| (format!("{cluster}: {most} of {technology}").into(), most)));
                let activities = effective.never_together.iter();
                limits.extend(activities.map(|activity| (format!("{cluster}: {activity}").into(), 1)));
                Kinds::default()
            }
            None => self.apart(&spec, effective, &mut limits),
        };
        if let Some((destination, most)) = spec.destination.as_ref().zip(effective.max_per_destination) {
            limits.push((GroupName::from(format!("to {destination}: {most} of {technology}")), most));
        }
        spec.groups.extend(limits.iter().map(|(group, _)| group.clone()));
        let (mut host_limits, mut counted) = (Vec::new(), None);
        if let Some(most) = effective.max_per_host {
            let resource = per_host(&technology, most);
            let members = spec.members.iter().map(|member| member.host.clone());
            let hosts = members.chain(spec.members.is_empty().then(|| spec.host.clone()));
            host_limits.extend(hosts.map(|host| (host, resource.clone(), u64::from(most))));
            counted = Some(resource);
        }
        let mut terms = effective.terms(&spec);
        terms.apart = apart;
        counted.into_iter().for_each(|resource| terms.demand.add(resource, 1));
        Request { spec, terms, limits, host_limits }
    }
}

impl Policies {
    /// An instance alone is a cluster of one, of which each kind is made once at a time whatever the policies say. So what
    /// they say of a cluster is which of its kinds are kept apart; a limit is left for who may have some but not all.
    fn apart(&self, spec: &JobSpec, effective: &Effective, limits: &mut Vec<(GroupName, u32)>) -> Kinds {
        let Ok(chain) = self.chain(spec) else { return Kinds::default() };
        let like = |same: &dyn Fn(&Effective) -> bool| -> Kinds {
            let kinds = BackupKind::ALL.into_iter();
            kinds.filter(|kind| same(self.chains.effective(chain, *kind))).collect()
        };
        let shares =
            |of: &Effective| effective.never_together.iter().any(|name| of.never_together.contains(name));
        let mut apart = like(&shares);
        if let Some(most) = effective.max_per_cluster {
            let counted = like(&|of| of.max_per_cluster == Some(most));
            match most {
                1 => apart.extend(counted.iter()),
                _ if counted.len() > most as usize => {
                    let name = format!("{}: {most} of {}", spec.instance, spec.technology);
                    limits.push((name.into(), most));
                }
                _ => {}
            }
        }
        apart.without(spec.kind)
    }
}

/// The resource of which a host has as many as runs of a technology it may have.
fn per_host(technology: &TechnologyName, most: u32) -> ResourceName {
    format!("{most} of {technology}").into()
}
