//! Calendars in a configuration: [`WindowRules`] as a table.

use super::node::Node;
use super::path::Path;
use super::problem::Findings;
use super::value::{Field, Keys, Shape, Value, keys, parsed, read_table};
use crate::calendar::{Rule, WindowRules};
use crate::zone::Zone;

keys! {
    struct CalendarKeys {
        /// Whose clock counts. `UTC` unless said.
        zone: Zone,
        /// When backups may run. At any time unless said.
        windows: Vec<Rule>,
        /// When nothing may run, windows or not. Never unless said.
        blackouts: Vec<Rule>,
        /// When the foreground is usually busy: the calendar's jobs wait if they can. Never unless said.
        business_hours: Vec<Rule>,
    }
}

/// The keys of a calendar.
pub(crate) const FIELDS: &[Field] = CalendarKeys::FIELDS;

impl Value for WindowRules {
    const SHAPE: Shape = Shape::Table(FIELDS);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let CalendarKeys { zone, windows, blackouts, business_hours } = read_table(node, at, findings)?;
        let mut rules = Self::new(zone.unwrap_or_default());
        rules.windows = windows.unwrap_or_default();
        rules.blackouts = blackouts.unwrap_or_default();
        rules.business_hours = business_hours.unwrap_or_default();
        Some(rules)
    }

    fn write(&self) -> Node<'static> {
        let list = |rules: &Vec<Rule>| (!rules.is_empty()).then(|| rules.clone());
        let keys = CalendarKeys {
            zone: Some(self.zone.clone()),
            windows: list(&self.windows),
            blackouts: list(&self.blackouts),
            business_hours: list(&self.business_hours),
        };
        Node::table(keys.said())
    }
}

impl Value for Rule {
    const SHAPE: Shape = Shape::Text("mon-fri 22:00-06:00");

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        parsed(node, "a time", at, findings)
    }

    fn write(&self) -> Node<'static> {
        Node::text(self.to_string())
    }
}

impl Value for Zone {
    const SHAPE: Shape = Shape::Text("Europe/Berlin");

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        parsed(node, "a time zone", at, findings)
    }

    fn write(&self) -> Node<'static> {
        Node::text(self.name().to_owned())
    }
}
