//! Services that have their addresses: what a new process writes (nothing), and how soon it serves a new one.

use std::time::Duration;

use crate::Options;
use crate::audit::{Request, summary};
use crate::process::{Outcome, now};
use crate::program::Cluster;
use crate::report::{Report, progress};

const LIMIT: Duration = Duration::from_secs(280);

pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let count = options.scale.restart;
    progress(&format!("restart: {count} Services get their addresses"));
    let mut cluster = Cluster::start(&options.program, options.port).await?;
    let mut observer = cluster.observe().await?;
    let mut process = options.program.start(&cluster)?;
    cluster.admin.create_services("service", 0..count).await?;
    super::all_served(&mut observer, &mut process, count, LIMIT).await?;
    cluster
        .audit
        .wait_until_quiet(Duration::from_secs(3), options.scale.patience)
        .await?;
    process.stop().await?;

    progress("restart: after a clean stop");
    serve_one(options, &mut cluster, report, "after-stop", "stop").await?;
    progress("restart: after a crash");
    serve_one(options, &mut cluster, report, "after-kill", "kill -9").await?;
    progress("restart: nothing to do");
    let mark = cluster.audit.mark()?;
    let mut process = options.program.start(&cluster)?;
    let end = now() + options.scale.silence;
    while now() < end {
        process.check()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let asked = cluster.audit.since(mark)?;
    let unasked = |request: &&Request| request.is_write() && !request.is_about("leases");
    let writes = asked.iter().filter(unasked).count();
    let what = |what: &str| format!("restart with {count} Services: {what}");
    let within = format!("writes within {} s", options.scale.silence.as_secs());
    report.judge(
        what(&within),
        "0",
        summary(asked.iter().filter(unasked)),
        writes == 0,
    );
    if asked.is_empty() {
        return Err("the audit log shows no request at all: it counts nothing".into());
    }
    report.note(what("all requests"), summary(asked.iter()));
    drop(process);
    Ok(())
}

/// Starts the program and creates a Service at once; ends it by a kill, so that the next start is one after a crash.
async fn serve_one(
    options: &Options,
    cluster: &mut Cluster,
    report: &mut Report,
    name: &str,
    after: &str,
) -> Outcome<()> {
    let mut observer = cluster.observe().await?;
    let mark = cluster.audit.mark()?;
    let start = now();
    let mut process = options.program.start(cluster)?;
    cluster.admin.create_service(name).await?;
    let served = super::served(&mut observer, &mut process, name, LIMIT).await?;
    cluster
        .audit
        .wait_until_quiet(Duration::from_secs(2), options.scale.patience)
        .await?;
    drop(process);

    let time = served.duration_since(start);
    let what = |what: &str| {
        format!(
            "restart with {} Services, after {after}: {what}",
            options.scale.restart
        )
    };
    let text = format!("{:.2} s", time.as_secs_f64());
    if options.scale.strict {
        report.judge(
            what("a new one served"),
            "<= 3 s",
            text,
            time <= Duration::from_secs(3),
        );
    } else {
        report.note(what("a new one served"), text);
    }
    let to_others = |request: &&Request| {
        request.is_write()
            && request.is_about("services")
            && !request.is_about_object("services", name)
    };
    let asked = cluster.audit.since(mark)?;
    let writes = asked.iter().filter(to_others).count();
    report.judge(
        what("writes to the others"),
        "0",
        writes.to_string(),
        writes == 0,
    );
    report.note(
        what("all requests to write"),
        summary(asked.iter().filter(|request| request.is_write())),
    );
    Ok(())
}
