//! Nothing happens: what is written all the same.

use std::time::Duration;

use crate::Options;
use crate::audit::summary;
use crate::process::{Outcome, now};
use crate::program::Cluster;
use crate::report::{Report, progress};

pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let (count, time) = (options.scale.idle, options.scale.idle_time);
    progress(&format!("idle: {count} Services, {} s", time.as_secs()));
    let mut cluster = Cluster::start(&options.program, options.port).await?;
    let mut observer = cluster.observe().await?;
    let mut process = options.program.start(&cluster)?;
    cluster.admin.create_services("service", 0..count).await?;
    super::all_served(&mut observer, &mut process, count, Duration::from_secs(60)).await?;
    cluster
        .audit
        .wait_until_quiet(Duration::from_secs(5), options.scale.patience)
        .await?;

    let mark = cluster.audit.mark()?;
    let worked = process.processor_time()?;
    let end = now() + time;
    while now() < end {
        process.check()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let worked = process.processor_time()? - worked;
    let asked = cluster.audit.since(mark)?;
    let (lease, other): (Vec<_>, Vec<_>) = asked
        .iter()
        .filter(|request| request.is_write())
        .partition(|request| request.is_about("leases"));
    let per_second = |number: usize| number as f64 / time.as_secs_f64();
    let what = |what: &str| {
        format!(
            "idle for {} s with {count} Services: {what}",
            time.as_secs()
        )
    };
    report.judge(
        what("writes but the lease's"),
        "0",
        summary(other.iter().copied()),
        other.is_empty(),
    );
    let rate = format!("{:.3}/s ({})", per_second(lease.len()), lease.len());
    if options.scale.strict {
        report.judge(
            what("writes to the lease"),
            "<= 0.1/s",
            rate,
            per_second(lease.len() + other.len()) <= 0.1,
        );
    } else {
        // A short time may begin just before a renewal and end just after one.
        let allowed = time.as_secs_f64() / 10.0 + 1.0;
        report.judge(
            what("writes to the lease"),
            "<= 0.1/s",
            rate,
            lease.len() as f64 <= allowed,
        );
    }
    let reads = asked.iter().filter(|request| !request.is_write());
    let rate = per_second(reads.clone().count());
    report.note(what("reads"), format!("{rate:.2}/s ({})", summary(reads)));
    report.note(
        what("processor time"),
        format!("{:.2} %", worked.as_secs_f64() / time.as_secs_f64() * 100.0),
    );
    Ok(())
}
