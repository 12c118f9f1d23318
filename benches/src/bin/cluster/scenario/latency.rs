//! From a Service's creation to the arrival of the event that shows its address, while nothing else goes on: one Service
//! after the other. A controller that does nothing but write at once is measured in the same way.

use std::time::Duration;

use crate::Options;
use crate::api::Observer;
use crate::process::{Outcome, Process, now};
use crate::program::{Cluster, Program};
use crate::report::{Report, milliseconds, percentile, progress};

/// Not counted: connections are made, caches filled.
const WARM_UP: usize = 10;
/// Between two Services, so that what the first one leads to (an Event, a pool's counters) is over.
const PAUSE: Duration = Duration::from_millis(50);

/// The most that half of the Services, and all but one in a hundred, may take.
const MEDIAN: Duration = Duration::from_millis(3);
const TAIL: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Samples {
    /// From the sending of the create request to its answer.
    created: Vec<Duration>,
    /// From the sending of the create request to the event that shows the address.
    served: Vec<Duration>,
    /// From the answer to the create request to that event: the watch, the controller, its write, the watch again.
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
    let slower_floor = percentile(&floor.served, 10).max(percentile(&floor_many.served, 10));
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
        let created = now();
        let limit = Duration::from_secs(30);
        let served = super::served(observer, process, &name, limit).await?;
        samples.created.push(created.duration_since(sent));
        samples.served.push(served.duration_since(sent));
        samples
            .answered
            .push(served.saturating_duration_since(created));
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
    let what = |what: &str| format!("{present} Services present: {what}");
    if options.scale.strict {
        let mut judge = |from: &str, values: &[Duration]| {
            let (median, tail) = (p50(values), p99(values));
            let row = what(&format!("{from} to address, p50"));
            report.judge(row, "<= 3 ms", milliseconds(median), median <= MEDIAN);
            let row = what(&format!("{from} to address, p99"));
            report.judge(row, "<= 10 ms", milliseconds(tail), tail <= TAIL);
        };
        judge("created", &samples.answered);
        // Where creating takes longer than that by itself, no controller could reach it.
        if p50(&floor.served) <= MEDIAN && p99(&floor.served) <= TAIL {
            judge("create request sent", &samples.served);
        }
    } else {
        // The quicker ones: what slows down the others may be something else that this machine does.
        let ratio = percentile(&samples.served, 10).as_secs_f64() / slower_floor.as_secs_f64();
        let row = what("create request sent to address, p10 / floor's");
        report.judge(row, "<= 5", format!("{ratio:.2}"), ratio <= 5.0);
    }
    report.note(
        what("created to address, p50 / p99"),
        both(&samples.answered),
    );
    report.note(what("the floor's"), both(&floor.answered));
    report.note(
        what("create request sent to created"),
        both(&samples.created),
    );
    report.note(
        what("create request sent to address"),
        both(&samples.served),
    );
    report.note(what("the floor's of that"), both(&floor.served));
}
