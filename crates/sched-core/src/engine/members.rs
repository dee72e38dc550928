//! Which member of a cluster a job takes.
//!
//! The first that is up is preferred. While a gate of its own keeps it, of its instance, host or volume, the job has
//! patience; when that is over, it takes the first member that is free. What members share, such as the fleet's
//! slots, keeps all of them alike and costs no patience. The choice is made anew whenever one of these gates changes,
//! as long as the job waits: a better member that becomes free is taken again.

use std::ops::Bound;

use crate::gate::Scope;
use crate::time::{MonoTime, Now};

use super::Engine;
use super::domain::Pass;
use super::index::{DomainIx, JobIx};
use super::job::MemberPlace;

impl Engine {
    /// Has a waiting job take the member that is right at present. `due`: nothing but gates keeps the job.
    pub(super) fn choose_member(&mut self, now: Now, ix: JobIx, due: bool) {
        let Some((chosen, kept_since)) = self.choice(now, ix, due) else { return };
        let extras = self.extras_mut(ix);
        extras.kept_since = kept_since;
        if extras.member == chosen {
            return;
        }
        let place = extras.members[chosen].place;
        self.withdraw_claim(ix);
        self.unwatch(ix);
        self.count_out_of_places(ix);
        self.extras_mut(ix).member = chosen;
        self.jobs[ix.at()].place = place;
        self.count_in_places(ix);
        if self.counts.run_now > 0 {
            self.set_express(now, ix);
        }
    }

    /// The member to take, and since when the preferred one has been kept; `None` for a job without members.
    fn choice(&self, now: Now, ix: JobIx, due: bool) -> Option<(usize, Option<MonoTime>)> {
        let extras = self.jobs[ix.at()].extras.as_ref()?;
        let members = &extras.members;
        if members.is_empty() {
            return None;
        }
        let preferred = members.iter().position(|member| self.is_up(member)).unwrap_or(0);
        if !due || self.is_free(now, ix, &members[preferred]) {
            return Some((preferred, None));
        }
        let since = extras.kept_since.unwrap_or(now.mono);
        let impatient = since + extras.spec.patience <= now.mono;
        let next = members.iter().position(|member| impatient && self.is_free(now, ix, member));
        Some((next.unwrap_or(preferred), Some(since)))
    }

    fn is_up(&self, member: &MemberPlace) -> bool {
        let is_down = |domain| self.domains[domain].gates.as_ref().is_some_and(|gates| gates.down.is_some());
        !self.own_domains(member).any(is_down)
    }

    /// Whether no gate of a member's own keeps the job from it.
    fn is_free(&self, now: Now, ix: JobIx, member: &MemberPlace) -> bool {
        let job = &self.jobs[ix.at()];
        let pass = Pass { goes_on: false, ..job.pass(now.wall.as_millisecond()) };
        let feels = self.feels(job);
        let amounts = self.demands.amounts(job.demand);
        self.own_domains(member).all(|domain| {
            let entry = &self.domains[domain];
            entry.closed(pass, feels).is_none()
                && entry.lacks(amounts).is_none()
                && self.overlapping(job, domain).is_none()
        })
    }

    /// A member's instance, and its host with the volume that is read.
    fn own_domains(&self, member: &MemberPlace) -> impl Iterator<Item = DomainIx> {
        let is_own =
            |place: &DomainIx| matches!(self.domains[*place].scope, Scope::Host(_) | Scope::Volume(..));
        [member.instance].into_iter().chain(self.domains.path(member.place).take_while(is_own))
    }

    /// Has the job choose anew when a gate of one of its members changes, or not any more.
    pub(super) fn watch_members(&mut self, ix: JobIx, watch: bool) {
        let members = self.jobs[ix.at()].extras.iter().flat_map(|extras| &extras.members);
        let domains: Vec<_> = members.flat_map(|member| self.own_domains(member)).collect();
        for domain in domains {
            let choosers = &mut self.domains[domain].gates_mut().choosers;
            if watch {
                choosers.insert(ix);
            } else {
                choosers.remove(&ix);
            }
        }
    }

    /// A gate of `domain` may stand otherwise than before: whoever may take a member there chooses anew, in steps.
    pub(super) fn changed(&mut self, domain: DomainIx) {
        if self.domains[domain].gates.as_ref().is_some_and(|gates| !gates.choosers.is_empty()) {
            self.choices.insert(domain, None);
        }
    }

    pub(super) fn choose_anew(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some((domain, last)) =
                self.choices.first_key_value().map(|(domain, last)| (*domain, *last))
        {
            let after = last.map_or(Bound::Unbounded, Bound::Excluded);
            let choosers = self.domains[domain].gates.iter().map(|gates| &gates.choosers);
            let next = choosers.flat_map(|choosers| choosers.range((after, Bound::Unbounded))).next();
            let Some(ix) = next.copied() else {
                self.choices.remove(&domain);
                continue;
            };
            self.choices.insert(domain, Some(ix));
            *budget -= 1;
            self.choose_again(now, ix);
        }
    }

    fn choose_again(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        if !job.state.is_waiting() {
            return;
        }
        let Some((chosen, kept_since)) = self.choice(now, ix, self.own_gate(ix, now).is_none()) else {
            return;
        };
        let extras = self.extras_mut(ix);
        if extras.member != chosen {
            self.reenter(now, ix);
        } else if extras.kept_since != kept_since {
            extras.kept_since = kept_since;
            self.set_next_look(now, ix);
        }
    }
}
