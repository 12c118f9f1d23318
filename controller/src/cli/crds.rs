//! `fairway crds`: the CustomResourceDefinitions for clusters that do not have Cilium's.

use crate::args::CrdsArgs;
use crate::crd::{Definition, definitions};

use super::{Failure, Outcome, output};

/// Prints the definitions of the kinds that are asked for, one YAML document each.
///
/// # Errors
/// A word names no kind, or standard output cannot be written to.
pub fn run(args: &CrdsArgs) -> Outcome {
    // Whether somebody reads on does not matter: this was all.
    let _ = output::print(&documents(&chosen(&args.kinds)?)?)?;
    Ok(())
}

/// All kinds if none is named; always in the same order, and each once.
fn chosen(names: &[String]) -> Result<Vec<Definition>, Failure> {
    let all = definitions();
    let is_none = |name: &&String| !all.iter().any(|definition| definition.is_called(name));
    if let Some(unknown) = names.iter().find(is_none) {
        let plurals: Vec<_> = all.iter().map(|known| known.plural.as_str()).collect();
        return Err(Failure::Usage(format!(
            "there is no definition of a kind {unknown:?}; there are {}",
            plurals.join(", ")
        )));
    }
    let is_wanted = |definition: &Definition| {
        names.is_empty() || names.iter().any(|name| definition.is_called(name))
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn documents(definitions: &[Definition]) -> Result<String, Failure> {
    let mut text = String::new();
    for definition in definitions {
        text.push_str(&format!(
            "---\n# Made by `fairway crds {}`.\n",
            definition.plural
        ));
        text.push_str(&output::yaml(&definition.object)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn plurals(names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = chosen(&names).unwrap();
        chosen.into_iter().map(|kind| kind.plural).collect()
    }

    #[test]
    fn a_kind_answers_to_all_its_names() {
        for name in [
            "CiliumBGPPeeringPolicy",
            "ciliumbgppeeringpolicy",
            "ciliumbgppeeringpolicies",
            "ciliumbgppeeringpolicies.cilium.io",
            "bgpp",
        ] {
            assert_eq!(plurals(&[name]), ["ciliumbgppeeringpolicies"], "{name}");
        }
        assert_eq!(
            plurals(&["l2announcement", "ippool", "lbippools"]),
            ["ciliumloadbalancerippools", "ciliuml2announcementpolicies"]
        );
        assert_eq!(plurals(&[]).len(), 9);
        assert_eq!(plurals(&["cn"]), ["ciliumnodes"]);
    }

    #[test]
    fn a_word_that_names_no_kind_is_wrong_usage_and_the_kinds_are_listed() {
        for word in ["pools", "", "CiliumPodIPPool", ".cilium.io"] {
            let failure = chosen(&["bgpp".to_owned(), word.to_owned()]).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains("ciliumbgppeerconfigs"));
        }
    }

    #[test]
    fn what_is_printed_means_what_was_built() {
        let all = definitions();
        let text = documents(&all).unwrap();
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let built: Vec<Value> = all
            .into_iter()
            .map(|definition| definition.object)
            .collect();
        assert_eq!(read, built);
        for line in text.lines() {
            let value = line.trim_start_matches([' ', '-']);
            assert!(
                !["Yes", "No", "True", "False"].contains(&value),
                "a text that kubectl takes for a boolean: {line}"
            );
        }
    }

    #[test]
    fn the_checked_in_files_are_current() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds"));
        let mut expected = BTreeSet::new();
        for definition in chosen(&[]).unwrap() {
            let plural = definition.plural.clone();
            let file = format!("{plural}.yaml");
            let current = documents(&[definition]).unwrap();
            let found = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
            assert!(
                found == current,
                "deploy/crds/{file} is not current: write it anew with `fairway crds {plural} > deploy/crds/{file}`"
            );
            expected.insert(file);
        }
        let found: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, expected, "deploy/crds holds one file for each kind");
    }
}
