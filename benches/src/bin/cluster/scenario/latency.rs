//! From the sending of a create request to the arrival of the event that shows the Service's address, while nothing else
//! goes on: one Service after the other. A controller that does nothing but write at once is measured in the same way.

use std::time::Duration;

use crate::Options;
use crate::api::{Change, Observer};
use crate::process::{Outcome, Process, now};
use crate::program::{Cluster, Program};
use crate::report::{Report, milliseconds, percentile, progress};

/// Not counted: connections are made, caches filled.
const WARM_UP: usize = 10;
/// Between two Services, so that what the first one leads to (an Event, a pool's counters) is over.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Samples {
    /// The answer to the create request.
    created: Vec<Duration>,
    /// The event that shows the Service without an address.
    appeared: Vec<Duration>,
    /// The event that shows the address.
    served: Vec<Duration>,
    /// From the one event to the other: the controller, its write, the watch.
    answered: Vec<Duration>,
}

pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let scale = &options.scale;
    progress("latency: Services one after the other");
    let cluster = Cluster::start(&options.program, options.port).await?;
    let floor = run(&cluster, &Program::FLOOR, "floor", scale.samples).await?;
    cluster.admin.delete_services().await?;
    let few = run(&cluster, &options.program, "few", scale.samples).await?;

    progress(&format!(
        "latency: the same with {} Services present",
        scale.present
    ));
    let missing = scale.present.saturating_sub(scale.samples + WARM_UP);
    let mut observer = cluster.observe().await?;
    let mut process = options.program.start(&cluster)?;
    cluster.admin.create_services("present", 0..missing).await?;
    super::all_served(&mut observer, &mut process, missing, scale.patience).await?;
    process.stop().await?;
    let many = run(&cluster, &options.program, "many", scale.samples).await?;
    let floor_many = run(&cluster, &Program::FLOOR, "floor-many", scale.samples).await?;

    // A machine that was busy while one floor was taken is no reason to blame the program.
    let slower_floor = percentile(&floor.served, 50).max(percentile(&floor_many.served, 50));
    tell(options, report, "0", &few, &floor, slower_floor);
    let present = scale.present.to_string();
    tell(options, report, &present, &many, &floor_many, slower_floor);
    Ok(())
}

/// Starts the program, lets it settle, takes the samples, ends it.
async fn run(cluster: &Cluster, program: &Program, prefix: &str, count: usize) -> Outcome<Samples> {
    let mut observer = cluster.observe().await?;
    let mut process = program.start(cluster)?;
    let mut warm_up = Samples::default();
    take(
        cluster,
        &mut observer,
        &mut process,
        &format!("{prefix}-warm-up"),
        WARM_UP,
        &mut warm_up,
    )
    .await?;
    cluster
        .plane
        .audit()
        .wait_until_quiet(Duration::from_secs(1), Duration::from_secs(30))
        .await?;
    let mut samples = Samples::default();
    take(
        cluster,
        &mut observer,
        &mut process,
        prefix,
        count,
        &mut samples,
    )
    .await?;
    process.stop().await?;
    Ok(samples)
}

async fn take(
    cluster: &Cluster,
    observer: &mut Observer,
    process: &mut Process,
    prefix: &str,
    count: usize,
    samples: &mut Samples,
) -> Outcome<()> {
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        let sent = now();
        // The watch is read by a task of its own, which notes the time; so nothing is missed while this one waits.
        cluster.admin.create_service(&name).await?;
        samples.created.push(now().duration_since(sent));
        let deadline = sent + Duration::from_secs(30);
        let mut appeared = sent;
        let served = loop {
            let sighting = observer.next(process, deadline).await?;
            if sighting.service.metadata.name != name {
                continue;
            }
            if sighting.service.address().is_some() {
                break sighting.at;
            }
            if sighting.change == Change::Added {
                appeared = sighting.at;
            }
        };
        samples.appeared.push(appeared.duration_since(sent));
        samples.served.push(served.duration_since(sent));
        samples.answered.push(served.duration_since(appeared));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn tell(
    options: &Options,
    report: &mut Report,
    present: &str,
    samples: &Samples,
    floor: &Samples,
    slower_floor: Duration,
) {
    let p50 = |values: &[Duration]| percentile(values, 50);
    let p99 = |values: &[Duration]| percentile(values, 99);
    let both = |values: &[Duration]| {
        let (median, tail) = (p50(values), p99(values));
        format!("{} / {}", milliseconds(median), milliseconds(tail))
    };
    let what = |what: &str| format!("created to served, {present} present: {what}");
    let (median, tail) = (p50(&samples.served), p99(&samples.served));
    if options.scale.strict {
        let (wanted_median, wanted_tail) = (Duration::from_millis(3), Duration::from_millis(10));
        let (text, met) = (milliseconds(median), median <= wanted_median);
        report.judge(what("p50"), "<= 3 ms", text, met);
        let (text, met) = (milliseconds(tail), tail <= wanted_tail);
        report.judge(what("p99"), "<= 10 ms", text, met);
    } else {
        let ratio = median.as_secs_f64() / slower_floor.as_secs_f64();
        let text = format!("{ratio:.2}");
        report.judge(what("p50 / floor's"), "<= 5", text, ratio <= 5.0);
        report.note(what("p50 / p99"), both(&samples.served));
    }
    report.note(what("the floor, p50 / p99"), both(&floor.served));
    report.note(what("create request alone"), both(&samples.created));
    report.note(what("event of the creation"), both(&samples.appeared));
    report.note(what("from there to the address"), both(&samples.answered));
    report.note(what("the same, floor"), both(&floor.answered));
}
