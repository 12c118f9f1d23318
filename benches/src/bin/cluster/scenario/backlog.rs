//! Services that wait when the program starts: how fast it writes them all, next to a loop that does nothing but write.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::Options;
use crate::api::{CONNECTIONS, Change};
use crate::audit::summary;
use crate::process::{Outcome, now};
use crate::program::Cluster;
use crate::report::{Report, progress};

const LIMIT: Duration = Duration::from_secs(280);

pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let count = options.scale.backlog;
    let mut cluster = Cluster::start(&options.program, options.port).await?;
    progress(&format!("backlog: a plain loop writes {count} Services"));
    let before = plain_loop(&cluster, count).await?;
    cluster.admin.delete_services().await?;
    progress(&format!("backlog: {count} Services wait"));
    let measured = program(options, &mut cluster, report).await?;
    cluster.admin.delete_services().await?;
    progress("backlog: the plain loop once more");
    let after = plain_loop(&cluster, count).await?;

    // One run before and one after: neither side has the warmer caches.
    let loop_rate = 2.0 * count as f64 / (before + after).as_secs_f64();
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    let share = |time: Duration| rate(time) / loop_rate;
    let show =
        |time: Duration| format!("{:.0} % ({:.0} writes/s)", share(time) * 100.0, rate(time));
    let (wanted, text) = if options.scale.strict {
        (0.8, ">= 80 %")
    } else {
        (0.25, ">= 25 %")
    };
    let what = |what: &str| format!("{count} Services wait: {what}");
    report.judge(
        what("of the plain loop's rate"),
        text,
        show(measured.writing),
        share(measured.writing) >= wanted,
    );
    report.note(
        what("the same, counted from the start of the process"),
        show(measured.all),
    );
    report.note(
        what("plain loop before / after"),
        format!("{:.0} / {:.0} writes/s", rate(before), rate(after)),
    );
    Ok(())
}

/// Creates the Services and has a loop write their statuses. Returns how long the writing took.
async fn plain_loop(cluster: &Cluster, count: usize) -> Outcome<Duration> {
    let services = cluster.admin.create_services("service", 0..count).await?;
    let api = cluster.plane.plain_loop().await?;
    // The same eyes are on it as on the program.
    let _observer = cluster.observe().await?;
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 1));
    let begin = now();
    stream::iter(services.iter().zip(first..))
        .map(|(service, address)| {
            let api = &api;
            async move {
                api.write_status(service, &Ipv4Addr::from(address).to_string())
                    .await
            }
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect::<()>()
        .await?;
    Ok(now().duration_since(begin))
}

struct Measured {
    /// From the first address to the last.
    writing: Duration,
    /// From the start of the process to the last address.
    all: Duration,
}

async fn program(
    options: &Options,
    cluster: &mut Cluster,
    report: &mut Report,
) -> Outcome<Measured> {
    let count = options.scale.backlog;
    cluster.admin.create_services("service", 0..count).await?;
    let mut observer = cluster.observe().await?;
    let mark = cluster.audit.mark()?;
    let start = now();
    let mut process = options.program.start(cluster)?;
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut first, mut last, mut served) = (start, start, 0);
    while served < count {
        let sighting = observer
            .next(&mut process, start + LIMIT)
            .await
            .map_err(|error| format!("{served} of {count} Services have an address: {error}"))?;
        if sighting.change != Change::Modified {
            continue;
        }
        let writes = writes
            .entry(sighting.service.metadata.name.clone())
            .or_default();
        *writes += 1;
        if *writes == 1 && sighting.service.address().is_some() {
            if served == 0 {
                first = sighting.at;
            }
            last = sighting.at;
            served += 1;
        }
    }
    let quiet = cluster
        .audit
        .wait_until_quiet(Duration::from_secs(3), options.scale.patience)
        .await?;
    for sighting in observer.drain() {
        *writes.entry(sighting.service.metadata.name).or_default() += 1;
    }
    process.stop().await?;

    let total: usize = writes.values().sum();
    let most = writes.values().max().copied().unwrap_or(0);
    let what = |what: &str| format!("{count} Services wait: {what}");
    report.judge(
        what("writes to Services"),
        format!("{count}, each once"),
        format!("{total}, at most {most} to one"),
        total == count && most == 1,
    );
    let asked = cluster.audit.since(mark)?;
    let suffix = if quiet { "" } else { ", and still writing" };
    let all = summary(asked.iter().filter(|request| request.is_write()));
    report.note(what("all requests to write"), format!("{all}{suffix}"));
    report.note(
        what("start to first address"),
        format!("{:.2} s", first.duration_since(start).as_secs_f64()),
    );
    Ok(Measured {
        writing: last.duration_since(first),
        all: last.duration_since(start),
    })
}
