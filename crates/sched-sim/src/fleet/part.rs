//! A fleet by its links: [`Part`].

use super::{Fleet, Host, Instance, Terms};
use crate::fault::{Faults, Where};

/// What uses one link of a fleet, as a fleet of its own.
///
/// Parts share nothing: a strategy whose limits are those of links and hosts does on them what it does on the whole.
#[derive(Clone, Debug)]
pub struct Part {
    /// One link, its hosts and their instances, numbered anew.
    pub fleet: Fleet,
    /// Which link of the whole it is.
    pub link: u32,
    /// By instance, its number in the whole.
    pub instances: Vec<u32>,
    /// By host, its number in the whole, ascending.
    pub hosts: Vec<u32>,
}

impl Fleet {
    /// The parts, in order of their links, one after the other.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let hosts = grouped(self.links.len(), self.hosts.iter().map(|host| host.link));
        let instances = grouped(self.hosts.len(), self.instances.iter().map(|instance| instance.host));
        (0..self.links.len()).map(move |link| self.part(link, &hosts, &instances))
    }

    fn part(&self, link: usize, hosts: &Grouped, instances: &Grouped) -> Part {
        let mut part = Part {
            fleet: Fleet { links: vec![self.links[link].clone()], ..Fleet::default() },
            link: link as u32,
            instances: Vec::new(),
            hosts: hosts.of(link).to_vec(),
        };
        for (host, number) in hosts.of(link).iter().enumerate() {
            part.fleet.hosts.push(Host { link: 0, ..self.hosts[*number as usize].clone() });
            part.instances.extend(instances.of(*number as usize));
            let of_host = instances.of(*number as usize).iter().map(|of| &self.instances[*of as usize]);
            part.fleet.instances.extend(of_host.map(|of| Instance { host: host as u32, ..of.clone() }));
        }
        part
    }
}

impl Part {
    /// What of a fleet's faults concerns the part.
    pub(crate) fn faults(&self, of: &Faults) -> Faults {
        let here = |place: Where| match place {
            Where::Fleet => Some(Where::Fleet),
            Where::Link(link) => (link == self.link).then_some(Where::Link(0)),
            Where::Host(host) => self.hosts.binary_search(&host).ok().map(|at| Where::Host(at as u32)),
        };
        of.filter_places(here)
    }
}

impl Part {
    /// What policies say of the part's instances.
    pub fn terms(&self, of: &Terms) -> Terms {
        let terms = self.instances.iter().filter_map(|number| of.of(*number).cloned()).collect();
        Terms::new(terms, of.calendars.clone())
    }
}

/// Numbers by what they belong to.
struct Grouped {
    from: Vec<u32>,
    numbers: Vec<u32>,
}

impl Grouped {
    fn of(&self, group: usize) -> &[u32] {
        &self.numbers[self.from[group] as usize..self.from[group + 1] as usize]
    }
}

/// Counting sort: numbers of one group stay in order.
fn grouped(groups: usize, group_of: impl ExactSizeIterator<Item = u32> + Clone) -> Grouped {
    let mut from = vec![0_u32; groups + 1];
    for group in group_of.clone() {
        from[group as usize + 1] += 1;
    }
    for group in 0..groups {
        from[group + 1] += from[group];
    }
    let (mut next, mut numbers) = (from.clone(), vec![0; group_of.len()]);
    for (number, group) in group_of.enumerate() {
        let at = &mut next[group as usize];
        numbers[*at as usize] = number as u32;
        *at += 1;
    }
    Grouped { from, numbers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetShape;

    #[test]
    fn every_instance_is_in_the_part_of_its_link() {
        let shape = FleetShape { instances: 90, per_link: 40, ..FleetShape::default() };
        let mut fleet = shape.generate();
        // Hosts of a link need not stand together, and several instances share one.
        fleet.hosts.iter_mut().enumerate().for_each(|(n, host)| host.link = n as u32 % 3);
        fleet.instances.iter_mut().for_each(|instance| instance.host /= 2);
        let mut seen = 0;
        for part in fleet.parts() {
            for (at, number) in part.instances.iter().enumerate() {
                let (here, there) = (&part.fleet.instances[at], &fleet.instances[*number as usize]);
                assert_eq!((&here.name, part.hosts[here.host as usize]), (&there.name, there.host));
                assert_eq!(fleet.hosts[there.host as usize].link, part.link);
                seen += 1;
            }
        }
        assert_eq!(seen, 90);
    }

    #[test]
    fn faults_go_where_they_belong() {
        use crate::fault::Outage;
        let fleet = FleetShape { instances: 90, per_link: 40, ..FleetShape::default() }.generate();
        let outage = |place| Outage { place, from: 0.0, to: 1.0 };
        let outages = [Where::Fleet, Where::Link(1), Where::Host(3), Where::Host(41)].map(outage);
        let faults = Faults { outages: outages.to_vec(), ..Faults::default() };
        let places: Vec<Vec<Where>> = fleet
            .parts()
            .map(|part| part.faults(&faults).outages.iter().map(|out| out.place).collect())
            .collect();
        assert_eq!(places[0], [Where::Fleet, Where::Host(3)]);
        assert_eq!(places[1], [Where::Fleet, Where::Link(0), Where::Host(1)]);
        assert_eq!(places[2], [Where::Fleet]);
    }
}
