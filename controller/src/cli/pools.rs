//! `fairway pools`: the address pools, what is left in them, and what is wrong with one.

use jiff::Timestamp;
use serde_json::Value;

use crate::args::PoolsArgs;

use super::output::{Table, age};
use super::services::{condition, text};
use super::show::{Drawn, Subject, show};
use super::{Failure, Outcome};

const HEAD: [&str; 9] = [
    "Name",
    "Blocks",
    "Disabled",
    "Conflicting",
    "Total",
    "Used",
    "Available",
    "Age",
    "Problem",
];
/// Conditions that mean trouble while they are True.
const TROUBLES: [&str; 2] = ["cilium.io/PoolConflict", "fairway.dev/Invalid"];

/// Shows the pools.
///
/// # Errors
/// Fairway cannot be reached.
pub async fn run(args: PoolsArgs) -> Outcome {
    show(&args.view, &Pools).await
}

/// All pools of a Fairway.
pub(crate) struct Pools;

impl Subject for Pools {
    fn path(&self) -> String {
        "/v1/pools".to_owned()
    }

    fn remarks(&self) -> &'static str {
        "/v1/problems"
    }

    fn select(&self, document: Value) -> Result<Value, Failure> {
        Ok(document)
    }

    fn draw(&self, document: &Value, now: Timestamp) -> Result<Drawn, Failure> {
        let items = document["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut rows: Vec<[String; 9]> = items.iter().map(|pool| row(pool, now)).collect();
        rows.sort();
        let mut table = Table::new(&HEAD);
        for cells in &rows {
            table.row(cells);
        }
        let hint = rows
            .is_empty()
            .then(|| "there is no CiliumLoadBalancerIPPool: no Service gets an address".to_owned());
        Ok(Drawn {
            text: table.to_string(),
            hint,
            ..Drawn::default()
        })
    }
}

fn row(pool: &Value, now: Timestamp) -> [String; 9] {
    let number = |kind: &str| {
        let message = condition(pool, kind)
            .map(|condition| text(&condition["message"]))
            .unwrap_or_default();
        if message.is_empty() { "-" } else { message }.to_owned()
    };
    let conflict = condition(pool, TROUBLES[0])
        .map(|condition| text(&condition["status"]))
        .unwrap_or_default();
    [
        text(&pool["metadata"]["name"]).to_owned(),
        blocks(&pool["spec"]),
        pool["spec"]["disabled"]
            .as_bool()
            .unwrap_or_default()
            .to_string(),
        if conflict.is_empty() { "-" } else { conflict }.to_owned(),
        number("cilium.io/IPsTotal"),
        number("cilium.io/IPsUsed"),
        number("cilium.io/IPsAvailable"),
        pool_age(pool, now),
        troubles(pool),
    ]
}

fn blocks(spec: &Value) -> String {
    // `cidrs` is the old name, and counts where there are no `blocks`.
    let mut lists = ["blocks", "cidrs"].into_iter();
    let blocks = lists.find_map(|list| spec[list].as_array().filter(|blocks| !blocks.is_empty()));
    let texts: Vec<String> = blocks
        .into_iter()
        .flatten()
        .map(|block| {
            match (
                text(&block["cidr"]),
                text(&block["start"]),
                text(&block["stop"]),
            ) {
                ("", start, "") => start.to_owned(),
                ("", start, stop) => format!("{start}-{stop}"),
                (cidr, _, _) => cidr.to_owned(),
            }
        })
        .collect();
    match texts.as_slice() {
        [] => "<none>".to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} and {} more", rest.len()),
        _ => texts.join(","),
    }
}

/// Manifests have no creation time.
fn pool_age(pool: &Value, now: Timestamp) -> String {
    let created: Option<Timestamp> = pool["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let since = created.and_then(|created| now.duration_since(created).try_into().ok());
    since.map_or_else(|| "-".to_owned(), age)
}

fn troubles(pool: &Value) -> String {
    let troubles: Vec<&str> = TROUBLES
        .iter()
        .filter_map(|kind| condition(pool, kind))
        .filter(|condition| condition["status"] == "True")
        .map(|condition| text(&condition["message"]))
        .collect();
    if troubles.is_empty() {
        "-".to_owned()
    } else {
        troubles.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_the_counts_and_what_is_wrong() {
        let counted = |conflict: &str| {
            json!([
                {"type": "cilium.io/PoolConflict", "status": conflict, "message": if conflict == "True" { "overlaps lan" } else { "" }},
                {"type": "cilium.io/IPsTotal", "status": "Unknown", "message": "16"},
                {"type": "cilium.io/IPsAvailable", "status": "Unknown", "message": "15"},
                {"type": "cilium.io/IPsUsed", "status": "Unknown", "message": "1"},
            ])
        };
        let list = json!({"items": [
            {"metadata": {"name": "lan", "creationTimestamp": "1970-01-01T00:00:00Z"},
             "spec": {"blocks": [{"cidr": "192.168.10.224/28"}]}, "status": {"conditions": counted("False")}},
            {"metadata": {"name": "again"}, "spec": {"disabled": true, "blocks": [{"start": "10.0.0.1", "stop": "10.0.0.9"}, {"start": "10.0.0.20"}]},
             "status": {"conditions": counted("True")}},
            {"metadata": {"name": "new"}, "spec": {}},
            {"metadata": {"name": "old"}, "spec": {"cidrs": [{"cidr": "10.0.1.0/24"}]}},
        ]});
        let drawn = Pools
            .draw(&list, Timestamp::from_second(3_700).unwrap())
            .unwrap();
        assert_eq!(
            drawn.text,
            "\
Name    Blocks                        Disabled   Conflicting   Total   Used   Available   Age    Problem
again   10.0.0.1-10.0.0.9,10.0.0.20   true       True          16      1      15          -      overlaps lan
lan     192.168.10.224/28             false      False         16      1      15          1h1m   -
new     <none>                        false      -             -       -      -           -      -
old     10.0.1.0/24                   false      -             -       -      -           -      -
"
        );
        assert_eq!(drawn.hint, None);
    }
}
