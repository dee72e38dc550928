//! What a configuration says about the fleet besides policies: [`Technology`], [`Cluster`], [`Instance`], [`Host`].

use std::collections::BTreeMap;

use sched_core::{
    DestinationName, GroupName, HostName, InstanceName, ResourceName, TechnologyName, TenantName, VolumeName,
};

use crate::config::value::keys;
use crate::units::ByteSize;

keys! {
    /// What a technology is, besides its profile.
    pub struct Technology {
        /// The technology whose policy counts where this one says nothing; `generic` unless said.
        like: TechnologyName,
        /// Other names for it.
        aliases: Vec<TechnologyName>,
    }
}

keys! {
    /// Instances that hold the same data, or parts of it.
    pub struct Cluster {
        /// The technology of its instances.
        technology: TechnologyName,
        /// Labels that all its instances have; what a later one says goes before what an earlier one says.
        labels: Vec<String>,
        /// Where its backups go.
        destination: DestinationName,
        /// Whom its backups are for.
        tenant: TenantName,
    }
}

keys! {
    /// One database instance.
    pub struct Instance {
        /// Its technology; its cluster's unless said.
        technology: TechnologyName,
        /// The cluster that it belongs to.
        cluster: GroupName,
        /// Its role in the cluster, such as `replica`: what the policy's `roles` choose by.
        role: String,
        /// Its labels beside those of its cluster; what a later one says goes before what an earlier one says.
        labels: Vec<String>,
        /// The host that it runs on; the instance's own name unless said.
        host: HostName,
        /// The volume of the host that it is on, where volumes have limits of their own.
        volume: VolumeName,
        /// Where its backups go; where its cluster's go unless said.
        destination: DestinationName,
        /// Whom its backups are for.
        tenant: TenantName,
        /// How large a full backup is.
        size: ByteSize,
    }
}

keys! {
    /// A host, or the fleet as a whole.
    pub struct Host {
        /// How much there is of each resource that backups may hold together.
        resources: BTreeMap<ResourceName, u64>,
    }
}

impl Instance {
    /// An instance of a technology, alone and without labels.
    pub fn new(technology: impl Into<TechnologyName>) -> Self {
        Self { technology: Some(technology.into()), ..Self::default() }
    }

    /// An instance of a cluster, with its role there.
    pub fn of_cluster(cluster: impl Into<GroupName>, role: impl Into<String>) -> Self {
        Self { cluster: Some(cluster.into()), role: Some(role.into()), ..Self::default() }
    }

    /// Sets the host that it runs on.
    #[must_use]
    pub fn host(mut self, host: impl Into<HostName>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.get_or_insert_default().push(label.into());
        self
    }

    /// Sets where its backups go.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<DestinationName>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Sets how large a full backup is, in bytes.
    #[must_use]
    pub fn size_bytes(mut self, size: u64) -> Self {
        self.size = Some(ByteSize(size));
        self
    }
}

impl Cluster {
    /// A cluster of a technology.
    pub fn new(technology: impl Into<TechnologyName>) -> Self {
        Self { technology: Some(technology.into()), ..Self::default() }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.get_or_insert_default().push(label.into());
        self
    }

    /// Sets where its backups go.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<DestinationName>) -> Self {
        self.destination = Some(destination.into());
        self
    }
}

impl Host {
    /// Says how much there is of a resource.
    #[must_use]
    pub fn resource(mut self, name: impl Into<ResourceName>, total: u64) -> Self {
        self.resources.get_or_insert_default().insert(name.into(), total);
        self
    }
}

/// The host of an instance for which none is said.
pub(crate) fn host_of(name: &InstanceName, instance: &Instance) -> HostName {
    instance.host.clone().unwrap_or_else(|| name.as_str().into())
}
