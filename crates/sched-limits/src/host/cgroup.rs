//! Where control groups are found: version 1, version 2, and both together.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use procfs_core::process::MountInfos;
use procfs_core::{FromBufRead, ProcessCGroups};

use super::file::read_once;
use crate::probe::ProbeError;

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hierarchies {
    unified: Option<Mount>,
    /// Version 1, by controller.
    legacy: BTreeMap<String, Mount>,
}

#[derive(Clone, Debug, PartialEq)]
struct Mount {
    /// Which group is seen at the mount point: in a container mostly its own.
    root: PathBuf,
    point: PathBuf,
}

/// The path of a group in each hierarchy; the unified one's key is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Membership {
    /// As in `/proc/<pid>/cgroup`.
    Of(BTreeMap<String, PathBuf>),
    /// The same path everywhere.
    Named(PathBuf),
}

/// A group's directory for one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupDir {
    V1(PathBuf),
    V2(PathBuf),
}

impl Hierarchies {
    /// What is mounted, seen from `root`.
    pub(crate) fn find(root: &Path) -> Result<Self, ProbeError> {
        let text = read_once(root.join("proc/self/mountinfo"))?;
        let mut this = Self::parse(&text);
        let below = |mount: &mut Mount| {
            mount.point = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
        };
        this.unified.iter_mut().chain(this.legacy.values_mut()).for_each(below);
        Ok(this)
    }

    /// Reads `/proc/self/mountinfo`. Lines that cannot be read are mounts of no interest.
    pub(super) fn parse(mountinfo: &str) -> Self {
        let mut this = Self::default();
        for line in mountinfo.lines() {
            let Ok(mounts) = MountInfos::from_buf_read(line.as_bytes()) else { continue };
            for mount in mounts {
                let at = Mount { root: mount.root.into(), point: mount.mount_point };
                match mount.fs_type.as_str() {
                    "cgroup2" => drop(this.unified.get_or_insert(at)),
                    "cgroup" => {
                        this.legacy.extend(mount.super_options.into_keys().map(|key| (key, at.clone())))
                    }
                    _ => {}
                }
            }
        }
        this
    }

    /// The group's directory for a controller and those of its ancestors, from itself up to what can be seen.
    pub(crate) fn chain(&self, controller: &str, of: &Membership) -> Vec<GroupDir> {
        match (self.legacy.get(controller), &self.unified) {
            (Some(mount), _) => mount.chain(of.path(controller)).map(GroupDir::V1).collect(),
            (None, Some(mount)) => mount.chain(of.path("")).map(GroupDir::V2).collect(),
            (None, None) => vec![],
        }
    }
}

impl Mount {
    fn chain(&self, path: Option<&Path>) -> impl Iterator<Item = PathBuf> + use<> {
        let point = self.point.clone();
        let below = path.map(|path| {
            // A group outside of what is mounted, as in a namespace, is seen as the mount's root.
            let below = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
            let plain =
                below.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
            let below = below.strip_prefix("/").unwrap_or(below);
            if plain { below.to_owned() } else { PathBuf::new() }
        });
        let levels: Vec<PathBuf> =
            below.iter().flat_map(|below| below.ancestors()).map(Path::to_owned).collect();
        levels.into_iter().map(move |level| point.join(level))
    }
}

impl Membership {
    /// Of a process; `self` is this one.
    pub(crate) fn of(root: &Path, pid: &str) -> Result<Self, ProbeError> {
        let what = root.join("proc").join(pid).join("cgroup");
        let text = read_once(&what)?;
        Self::parse(&text).map_err(|problem| ProbeError::Parse { what: what.display().to_string(), problem })
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let groups = ProcessCGroups::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?;
        let mut paths = BTreeMap::new();
        for group in groups {
            if group.controllers.is_empty() {
                paths.insert(String::new(), group.pathname.into());
                continue;
            }
            let keys = group.controllers.into_iter();
            paths.extend(keys.map(|controller| (controller, PathBuf::from(&group.pathname))));
        }
        Ok(Self::Of(paths))
    }

    fn path(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::Of(paths) => paths.get(controller).map(PathBuf::as_path),
            Self::Named(path) => Some(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    fn paths(dirs: &[GroupDir]) -> Vec<&str> {
        let path = |dir: &GroupDir| match dir {
            GroupDir::V1(path) | GroupDir::V2(path) => path.to_str().unwrap().to_owned().leak() as &str,
        };
        dirs.iter().map(path).collect()
    }

    #[test]
    fn version_2_has_one_path_for_all() {
        let found = Hierarchies::parse(&format!("garbage\n{V2}22 27 0:21 / /proc rw - proc proc rw\n"));
        let own = Membership::parse("0::/system.slice/tool.service\n").unwrap();
        let chain = found.chain("memory", &own);
        assert_eq!(
            paths(&chain),
            ["/sys/fs/cgroup/system.slice/tool.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/"]
        );
        assert!(matches!(chain[0], GroupDir::V2(_)));
    }

    #[test]
    fn version_1_has_a_path_for_each_controller() {
        let found = Hierarchies::parse(V1);
        let own = Membership::parse("4:memory:/db\n2:cpuacct,cpu:/\n").unwrap();
        assert_eq!(
            paths(&found.chain("memory", &own)),
            ["/sys/fs/cgroup/memory/db", "/sys/fs/cgroup/memory/"]
        );
        assert_eq!(paths(&found.chain("cpu", &own)), ["/sys/fs/cgroup/cpu,cpuacct/"]);
        assert_eq!(found.chain("blkio", &own), []);
    }

    #[test]
    fn a_hybrid_prefers_where_the_controller_is() {
        let unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
        let found = Hierarchies::parse(&format!("{V1}{unified}"));
        let own = Membership::parse("4:memory:/a\n1:name=systemd:/x\n0::/b\n").unwrap();
        assert!(matches!(&found.chain("memory", &own)[0], GroupDir::V1(_)));
        assert_eq!(paths(&found.chain("io", &own))[0], "/sys/fs/cgroup/unified/b");
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        let docker = V1.replace("0:32 /", "0:32 /docker/4f2");
        let found = Hierarchies::parse(&docker);
        let same = Membership::parse("4:memory:/docker/4f2\n").unwrap();
        assert_eq!(paths(&found.chain("memory", &same)), ["/sys/fs/cgroup/memory/"]);
        let nested = Membership::parse("4:memory:/docker/4f2/child\n").unwrap();
        assert_eq!(paths(&found.chain("memory", &nested))[0], "/sys/fs/cgroup/memory/child");
        let namespace = Membership::parse("4:memory:/\n").unwrap();
        assert_eq!(paths(&found.chain("memory", &namespace)), ["/sys/fs/cgroup/memory/"]);
        let outside = Membership::parse("0::/../../other\n").unwrap();
        assert_eq!(paths(&Hierarchies::parse(V2).chain("memory", &outside)), ["/sys/fs/cgroup/"]);
    }

    proptest! {
        #[test]
        fn garbage_finds_nothing_and_does_not_panic(text in "(\\PC|[a-z0-9:/ ,\\n-]){0,200}") {
            let _ = Hierarchies::parse(&text);
            let _ = Membership::parse(&text);
        }
    }
}
