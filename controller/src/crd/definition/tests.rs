use super::*;

fn one(kind: &str) -> Value {
    definitions()
        .into_iter()
        .find(|definition| definition.kind == kind)
        .unwrap()
        .object
}

#[test]
fn print_all() {
    for d in definitions() {
        println!("{}", serde_json::to_string_pretty(&d.object).unwrap());
    }
    let _ = one("CiliumLoadBalancerIPPool");
}
