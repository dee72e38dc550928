//! The page: one file without scripts, for a wide screen or a phone, light or dark.

mod charts;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sched_sim::{Fleet, Late};

use crate::race::Contender;
use crate::table::{Group, number, verdict};

const HOUR: f64 = 3600.0;
/// So many of the worst instances are shown.
const WORST: usize = 10;
const STYLE: &str = include_str!("style.css");

/// Everything that is shown.
pub(crate) struct Page<'a> {
    pub(crate) fleet: &'a Fleet,
    /// The scheduler first.
    pub(crate) contenders: &'a [Contender],
    pub(crate) groups: &'a [Group],
    /// By link, the lowest bytes of the busiest hour.
    pub(crate) lowest: &'a [f64],
    pub(crate) about: &'a str,
}

impl Page<'_> {
    pub(crate) fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "A fleet's week of backups" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { "A fleet's week of backups" }
                    p.verdict { (verdict(self.contenders)) }
                    p { (self.about) }
                    (self.comparison())
                    (self.link_use())
                    (self.slack())
                    (self.heat())
                    (self.worst())
                    (self.technologies())
                    h2 { "What this rests on" }
                    p { (crate::MODEL) }
                    p { "Each baseline is shown with the best of its settings: the least harm among those that met as many recovery \
                         points as the best, up to a tenth of a point. All get the same fleet, the same loads and the same first \
                         recovery points. Times are UTC; the week begins on a Monday." }
                }
            }
        };
        page.into_string()
    }

    fn comparison(&self) -> Markup {
        html! {
            h2 { "Who did what" }
            div.scroll { table.comparison {
                thead { tr { th {} @for contender in self.contenders { th { (contender.name) } } } }
                @for group in self.groups {
                    tbody {
                        tr.group { th colspan=(self.contenders.len() + 1) { (group.title) } }
                        @for line in &group.lines {
                            tr {
                                th { (line.what) }
                                @for (cell, best) in line.cells().iter().zip(line.best()) {
                                    td.best[best] { (cell) }
                                }
                            }
                        }
                    }
                }
            } }
            p.note { "Bold: the best of its line." }
            dl { @for contender in self.contenders { dt { (contender.name) } dd { (contender.about) "." } } }
        }
    }

    fn link_use(&self) -> Markup {
        html! {
            h2 { "Use of the links by hour" }
            p { "Filled: the mean of all links. Line: the fullest link of each hour. Dashed: the lowest peak that recovery points and \
                 windows allow, mean of all links." }
            div.panels { @for (n, contender) in self.contenders.iter().enumerate() {
                (charts::link_use(self.fleet, contender, self.lowest, n == 0))
            } }
        }
    }

    fn slack(&self) -> Markup {
        html! {
            h2 { "How much time was left" }
            p { "When a backup was done: the part of the recovery point objective that was left. The more to the right, the safer; to \
                 the very left those that came too late." }
            div.panels { @for (n, contender) in self.contenders.iter().enumerate() { (charts::slack(contender, n == 0)) } }
        }
    }

    fn heat(&self) -> Markup {
        let rival = self.rival();
        html! {
            h2 { "The week as a map" }
            p { "A row is a day, a column an hour. The darker, the more; each map by its own greatest. Backups should be where the \
                 foreground is not." }
            div.panels {
                (charts::heat("Foreground load", "load", &charts::foreground(self.fleet), |load| format!("{:.0} %", 100.0 * load)))
                @for (n, contender) in self.contenders.iter().take(1).chain(rival).enumerate() {
                    @let class = if n == 0 { "ours" } else { "theirs" };
                    (charts::heat(&format!("Backups: {}", contender.name), class, &charts::moved(contender), |bytes| {
                        format!("{} GB", number(bytes / 1e9, 0))
                    }))
                }
            }
        }
    }

    fn worst(&self) -> Markup {
        html! {
            h2 { "The worst instances, and why" }
            @for contender in self.contenders.iter().take(1).chain(self.rival()) {
                @let late = contender.measures.worst.iter().filter(|late| late.by_secs > 0.0).count();
                h3 { (contender.name) }
                @if late == 0 { p { "Nobody was late. These were nearest to it." } }
                div.scroll { table.worst {
                    thead { tr { th { "instance" } th { "size" } th { "RPO" } th { "late by" } th { "most of the time" } } }
                    tbody { @for late in contender.measures.worst.iter().take(WORST) { (self.late(late)) } }
                } }
            }
        }
    }

    fn late(&self, late: &Late) -> Markup {
        let instance = &self.fleet.instances[late.instance as usize];
        let by = if late.by_secs > 0.0 {
            format!("{:.1} h{}", late.by_secs / HOUR, if late.replaced { "" } else { ", not done yet" })
        } else {
            format!("in time by {:.1} h", -late.by_secs / HOUR)
        };
        html! {
            tr {
                td { (instance.name) }
                td { (number(instance.bytes / 1e9, 1)) " GB" }
                td { (format!("{:.1} h", instance.rpo.as_secs_f64() / HOUR)) }
                td { (by) }
                td { (late.cause()) }
            }
        }
    }

    fn technologies(&self) -> Markup {
        let Some(ours) = self.contenders.first() else { return html! {} };
        html! {
            h2 { "By technology" }
            p { "What this scheduler did." }
            div.scroll { table {
                thead { tr { th { "technology" } th { "recovery points" } th { "in time" } th { "mean slack" } } }
                tbody { @for of in &ours.measures.technologies {
                    tr {
                        td { (of.name) }
                        td { (number(of.due as f64, 0)) }
                        td { (format!("{:.2} %", 100.0 * of.in_time as f64 / of.due.max(1) as f64)) }
                        td { (format!("{:.0} % of the RPO", 100.0 * of.slack)) }
                    }
                } }
            } }
        }
    }

    /// The best of the others.
    fn rival(&self) -> Option<&Contender> {
        let rivals = self.contenders.get(1..).unwrap_or_default();
        let measures: Vec<_> = rivals.iter().map(|rival| rival.measures.clone()).collect();
        sched_sim::best(&measures).map(|best| &rivals[best])
    }
}

#[cfg(test)]
mod tests {
    use sched_sim::{Adaptive, FleetShape, Simulation, baselines};

    use super::*;

    #[test]
    fn the_page_shows_everybody_and_is_safe_from_names() {
        let mut shape = FleetShape::default();
        (shape.instances, shape.per_link) = (20, 10);
        let mut fleet = shape.generate();
        fleet.instances.iter_mut().for_each(|of| of.name = format!("<b>{}</b>", of.name));
        let simulation = Simulation::new(&fleet).days(1);
        let ours = simulation.run(&mut Adaptive::new(9));
        let mut contenders =
            vec![Contender { name: "this scheduler", about: "decides".into(), measures: ours }];
        for baseline in baselines() {
            let measures = simulation.run(&mut baseline.settings[0].clone());
            contenders.push(Contender { name: baseline.name, about: baseline.about.into(), measures });
        }
        let lowest = sched_sim::lowest_peaks(&fleet, None, 24);
        let groups = crate::table::groups(&contenders, &lowest);
        let page =
            Page { fleet: &fleet, contenders: &contenders, groups: &groups, lowest: &lowest, about: "a & b" };
        let html = page.html();
        assert!(html.contains("a &amp; b") && html.contains("&lt;b&gt;") && !html.contains("<b>"));
        assert!(contenders.iter().all(|contender| html.matches(contender.name).count() >= 3));
        assert!(!html.contains("NaN") && !html.contains("inf,") && !html.contains("<script"));
        assert_eq!(html.matches("<svg").count(), 2 * contenders.len() + 3);
    }
}
