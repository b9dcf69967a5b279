//! Many builds with a GitHub that fails now and then: the last status of each commit is right, and GitHub's published
//! limits are kept at every moment. An hour of the limits takes 3.6 seconds here; the pauses after failures are the real
//! ones.
//!
//! `TRAINYARD_TEST_BUILDS` sets the number of builds. `make faults` runs the test with ten thousand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use trainyard::domain::CommitState;
use trainyard::outbox::pacing::Window;

use super::chance::Random;
use crate::support::github::Fault;
use crate::support::post::{CONTEXT, OTHER, Post, STYLES, commit_of};

const USUAL_BUILDS: usize = 300;
/// Builds that are under way at once.
const AT_ONCE: usize = 40;
const POSTERS: usize = 4;
/// Time for an answer. It is long enough that a busy machine makes no further faults.
const TIMEOUT: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_millis(60);
const HOUR: Duration = Duration::from_millis(3600);
/// GitHub's published limits on what a token creates, in a minute and in an hour.
const PUBLISHED: [(usize, Duration); 2] = [(80, MINUTE), (500, HOUR)];
const MOST_REQUESTS: f64 = 2.5;

/// Returns the fault of a request, one in twenty.
fn fault(random: &mut Random) -> Option<Fault> {
    Some(match random.below(200) {
        0 | 1 => Fault::Status(500, None),
        2 | 3 => Fault::Status(502, None),
        // The status is there, and the answer is lost.
        4..=6 => Fault::Lost,
        7 | 8 => Fault::Hang(2 * TIMEOUT),
        9 => Fault::Status(429, Some(1)),
        _ => return None,
    })
}

/// Lets builds begin, run and end in random order. Returns the last state and words of each.
async fn produce(post: &Post, builds: usize, random: &mut Random) -> HashMap<String, (CommitState, String)> {
    let (mut under_way, mut begun): (Vec<(usize, usize)>, usize) = (Vec::new(), 0);
    let mut last = HashMap::new();
    while begun < builds || !under_way.is_empty() {
        if begun < builds && under_way.len() < AT_ONCE {
            under_way.push((begun, 0));
            begun += 1;
        }
        let chosen = random.of(under_way.len());
        let (build, step) = under_way[chosen];
        let repo = if build % 3 == 0 { OTHER } else { STYLES };
        let (state, words) = match step {
            0 => (CommitState::Pending, "queued: 1 job"),
            1 => (CommitState::Pending, "running: 1 job"),
            _ if random.is_one_in(4) => (CommitState::Failure, "failed: 1 of 1 job"),
            _ => (CommitState::Success, "passed: 1 job in 1 s"),
        };
        let sha = commit_of(build);
        post.want_of(repo, &sha, 1, state, words).await;
        if step == 2 {
            under_way.swap_remove(chosen);
            last.insert(sha, (state, words.to_owned()));
        } else {
            under_way[chosen].1 += 1;
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_status_of_every_build_is_right_with_one_fault_in_twenty() {
    let builds = std::env::var("TRAINYARD_TEST_BUILDS").map_or(USUAL_BUILDS, |builds| builds.parse().unwrap());
    let windows = vec![Window { most: 60, within: MINUTE }, Window { most: 450, within: HOUR }];
    let post = Post::with_timeout(windows, TIMEOUT).await;
    let mut random = Random(7);
    let mut of_requests = Random(8);
    post.github.fail_by(move || fault(&mut of_requests));
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    let posters = (0..POSTERS).map(|_| async {
        loop {
            let is_over = is_over.load(Ordering::Relaxed);
            if post.outbox.step().await.unwrap() {
                continue;
            }
            let owed = "select count(*) from wish where sent_seq < wanted_seq";
            if is_over && sqlx::query_scalar::<_, i64>(owed).fetch_one(&post.db).await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let produced = async {
        let last = produce(&post, builds, &mut random).await;
        is_over.store(true, Ordering::Relaxed);
        last
    };
    let (last, _) = tokio::join!(produced, futures::future::join_all(posters));
    let took = begin.elapsed();

    let mut shown = HashMap::new();
    for posted in post.github.posted() {
        assert_eq!(posted.context, CONTEXT);
        shown.insert(posted.sha, (posted.state, posted.description));
    }
    assert_eq!((last.len(), shown.len()), (builds, builds));
    for (sha, (state, words)) in &last {
        let state = serde_json::to_value(state).unwrap();
        assert_eq!((state.as_str(), words), (Some(shown[sha].0.as_str()), &shown[sha].1), "{sha}");
    }
    let requests = post.github.requests().len();
    let each = requests as f64 / builds as f64;
    let busiest = PUBLISHED.map(|(_, within)| post.github.busiest(within));
    println!(
        "{builds} builds: {requests} requests, {each:.2} a build, busiest {busiest:?} of {PUBLISHED:?}, {took:.0?}"
    );
    assert!(each <= MOST_REQUESTS, "{each} requests a build");
    for ((most, within), busiest) in PUBLISHED.into_iter().zip(busiest) {
        assert!(busiest <= most, "{busiest} requests within {within:?}");
    }
}
