//! What the account may do: [`lacking`], pure.

/// Which of the needed privileges the grants do not give: on everything, or on each of the databases.
///
/// A dump by an account that may not see a table or a trigger succeeds without it, so this must be known before.
pub(super) fn lacking(grants: &[String], databases: &[String], needed: &[&'static str]) -> Vec<&'static str> {
    let given = |privilege: &str, place: &str| {
        grants.iter().any(|grant| parse(grant).is_some_and(|grant| grant.gives(privilege, place)))
    };
    let lacks = |privilege: &&&'static str| {
        let privilege = **privilege;
        !given(privilege, "*")
            && (databases.is_empty() || databases.iter().any(|database| !given(privilege, database)))
    };
    needed.iter().filter(lacks).copied().collect()
}

struct Grant<'a> {
    privileges: Vec<&'a str>,
    /// `*` for everything, else the pattern of a database.
    place: String,
}

impl Grant<'_> {
    fn gives(&self, privilege: &str, place: &str) -> bool {
        let has = |given: &&str| *given == privilege || *given == "ALL PRIVILEGES";
        self.place == place && self.privileges.iter().any(has)
    }
}

/// `GRANT SELECT, LOCK TABLES ON `shop`.* TO …`; of grants on single tables and of roles nothing.
fn parse(grant: &str) -> Option<Grant<'_>> {
    let (privileges, rest) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let (place, _) = rest.split_once(".* TO ")?;
    // An underscore that means itself is escaped.
    let place = place.trim_matches('`').replace("\\_", "_").replace("``", "`");
    Some(Grant { privileges: privileges.split(", ").collect(), place })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [&str; 2] = ["SELECT", "TRIGGER"];

    fn lacks(grants: &[&str], databases: &[&str]) -> Vec<&'static str> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        lacking(&owned(grants), &owned(databases), &NEEDED)
    }

    #[test]
    fn what_is_not_granted_everywhere_is_lacking() {
        assert_eq!(lacks(&["GRANT USAGE ON *.* TO `b`@`%`"], &[]), ["SELECT", "TRIGGER"]);
        assert_eq!(lacks(&["GRANT SELECT, SHOW VIEW ON *.* TO `b`@`%`"], &[]), ["TRIGGER"]);
        assert_eq!(lacks(&["GRANT SELECT ON *.* TO `b`", "GRANT TRIGGER ON `a`.* TO `b`"], &[]), ["TRIGGER"]);
        assert!(lacks(&["GRANT ALL PRIVILEGES ON *.* TO `b`@`%` WITH GRANT OPTION"], &[]).is_empty());
    }

    #[test]
    fn a_dump_of_some_databases_needs_no_more() {
        let grants = ["GRANT SELECT ON *.* TO `b`", r"GRANT TRIGGER ON `my\_shop`.* TO `b`"];
        assert!(lacks(&grants, &["my_shop"]).is_empty());
        assert_eq!(lacks(&grants, &["my_shop", "other"]), ["TRIGGER"]);
        assert_eq!(
            lacks(&["GRANT SELECT, TRIGGER ON `my_shop`.`t` TO `b`"], &["my_shop"]),
            ["SELECT", "TRIGGER"]
        );
    }
}
