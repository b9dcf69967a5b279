//! The progress of an attempt: when it has to end, and what its end means.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::reason;
use super::stop::{self, Escalation};
use crate::domain::{GpuUse, Stop, Verdict};
use crate::executor::{Exit, Limits};
use crate::travis::script;

/// The interval between checks of the limits. Travis's limits are minutes; this is near enough, and cheap.
pub const TICK: Duration = Duration::from_millis(200);
/// The time between two checks after which the process counts as having stood still.
const STANDSTILL: Duration = Duration::from_secs(2);

/// The state that the parts of an attempt share: one follows the container, the other watches the clock.
#[derive(Debug)]
pub struct Progress {
    /// The name of the container, once it is decided.
    pub container: Option<String>,
    /// The time at which the container was started.
    pub started: Option<Instant>,
    /// The time at which its last output came, or was stored if that took longer.
    last_output: Instant,
    /// True while output waits to be stored. More may wait behind it, which is not read yet.
    unstored: bool,
    /// The time of the last check.
    checked: Instant,
    /// True when the log has reached its limit.
    pub log_full: bool,
    /// Bytes that the job has written to its disk, when last measured.
    pub written: u64,
    /// The time since which all GPUs of the job do nothing, as far as that is known.
    gpus_idle_since: Option<Instant>,
    /// Maximum GPU memory of all samples, in bytes.
    gpu_memory: Option<u64>,
    /// True when the engine does not answer.
    away: bool,
    /// True when the job's output broke off and was not found again, so that the job's state is unknown.
    unseen: bool,
    /// True once the attempt was judged: the job is not to blame for what follows, such as storing its files.
    judged: bool,
    stop: Option<(Stop, String)>,
    escalation: Option<Escalation>,
}

/// The actions that [`Progress::check`] finds due.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    /// A stop that was decided now, and its reason.
    pub stop: Option<(Stop, String)>,
    /// The container and the signal to send to it.
    pub signal: Option<(String, &'static str)>,
}

/// The meaning of an attempt's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The script's exit status; `None` when the script never ran.
    pub exit_status: Option<i64>,
    /// Reason why the job did not pass.
    pub reason: Option<String>,
    /// Text for the log, after the container's own bytes.
    pub closing: String,
}

impl Judgement {
    /// Judges a job whose container could not be made, through a fault of the job.
    pub fn could_not_begin(reason: String) -> Self {
        let closing = format!("{reason}\n");
        Self { verdict: Verdict::Errored, exit_status: None, reason: Some(reason), closing }
    }
}

impl Progress {
    /// Starts the progress of an attempt whose container may exist already, and that may have been told to stop.
    pub fn new(container: Option<String>, stop: Option<(Stop, String)>) -> Self {
        Self {
            container,
            started: None,
            last_output: Instant::now(),
            unstored: false,
            checked: Instant::now(),
            log_full: false,
            written: 0,
            gpus_idle_since: None,
            gpu_memory: None,
            away: false,
            unseen: false,
            judged: false,
            stop,
            escalation: None,
        }
    }

    /// Checks the limits and the stop that was requested (`wanted`); returns what is due `now`. Call it every [`TICK`].
    pub fn check(&mut self, limits: &Limits, now: Instant, wanted: Option<(Stop, String)>) -> Due {
        if self.judged {
            return Due { stop: None, signal: None };
        }
        // While this process or its machine stood still, it read no output.
        if now.saturating_duration_since(std::mem::replace(&mut self.checked, now)) > STANDSTILL {
            self.last_output = now;
        }
        let broken = self.limit_broken(limits, now).map(|stop| (stop, stop::reason(stop, limits)));
        let fresh = self.stop.is_none().then_some(wanted.or(broken)).flatten();
        if fresh.is_some() {
            self.stop.clone_from(&fresh);
        }
        // A stop that is requested before the container runs is carried out once it runs.
        let can_stop = self.started.is_some() && !self.away;
        let stop = self.stop.as_ref().map(|(stop, _)| *stop).filter(|_| can_stop);
        let signal = self.container.clone().zip(stop).and_then(|(container, stop)| {
            let escalation = self.escalation.get_or_insert_with(|| Escalation::new(stop, now, limits.grace));
            Some((container, escalation.signal(now)?))
        });
        Due { stop: fresh, signal }
    }

    /// Records that output came, and waits to be stored. Until it is stored, the job does not count as silent.
    pub fn output_came(&mut self) {
        self.unstored = true;
    }

    /// Records that all output that came is stored.
    pub fn output_stored(&mut self) {
        self.unstored = false;
        self.last_output = Instant::now();
    }

    /// Records what the job's GPUs do; `None` if that is not known, which proves nothing.
    pub fn gpus_seen(&mut self, used: Option<GpuUse>) {
        self.gpus_idle_since = match used {
            Some(GpuUse { busy: 0, .. }) => Some(self.gpus_idle_since.unwrap_or_else(Instant::now)),
            Some(_) | None => None,
        };
        self.gpu_memory = self.gpu_memory.max(used.map(|used| used.memory));
    }

    /// Returns the maximum GPU memory of all samples so far, in bytes; `None` if there was none.
    pub fn gpu_memory(&self) -> Option<u64> {
        self.gpu_memory
    }

    /// Records whether the engine answers. While it does not, no limit counts as broken, since the job may have kept
    /// it.
    pub fn set_engine_reachable(&mut self, there: bool) {
        if std::mem::replace(&mut self.away, !there) && there {
            self.last_output = Instant::now();
        }
    }

    /// Records that the job's output broke off: no limit counts as broken until the output is found again.
    pub fn output_lost(&mut self) {
        self.unseen = true;
    }

    /// Records that the job is known to run. Its output of the meantime arrives only now.
    pub fn output_resumed(&mut self) {
        if std::mem::take(&mut self.unseen) {
            self.last_output = Instant::now();
        }
    }

    fn limit_broken(&self, limits: &Limits, now: Instant) -> Option<Stop> {
        let started = self.started.filter(|_| !self.away && !self.unseen)?;
        if self.log_full {
            Some(Stop::LogSize)
        } else if self.written > limits.disk.as_u64() {
            Some(Stop::Disk)
        } else if now.duration_since(started) > limits.time {
            Some(Stop::WallTime)
        } else if !self.unstored && now.duration_since(self.last_output.max(started)) > limits.silence {
            Some(Stop::Silence)
        } else if self.gpus_idle_since.is_some_and(|since| now.duration_since(since) > limits.gpu_idle) {
            Some(Stop::GpuIdle)
        } else {
            None
        }
    }

    /// Returns true when an unseen end says nothing about the job: Trainyard did not stop it, and its script did not
    /// print its last words. An engine that dies kills its containers by signals, or loses their output, and then
    /// reports any exit status, 0 for instance.
    pub fn end_is_unknown(&self, exit: &Exit, tail: &str) -> bool {
        let by_itself = (2..=128).contains(&exit.status) || tail.contains(script::LAST_WORDS);
        self.stop.is_none() && !self.log_full && !exit.out_of_memory && !by_itself
    }

    /// Returns why the job was preempted; `None` when it was not, or had already come to its end.
    pub fn preempted(&self, exit: &Exit) -> Option<&str> {
        let stop = self.stop.as_ref().filter(|(stop, _)| *stop == Stop::Preempted && exit.status != 0);
        stop.map(|(_, reason)| reason.as_str())
    }

    /// Returns true if another job needs the GPUs.
    pub fn is_preempted(&self) -> bool {
        matches!(self.stop, Some((Stop::Preempted, _)))
    }

    /// Judges an attempt that is to stop before its container runs. Returns `None` if no stop was requested.
    pub fn judge_unstarted(&self, limits: &Limits) -> Option<Judgement> {
        let (why, reason) = self.stop.as_ref()?;
        let closing = stop::text(*why, reason, limits);
        Some(Judgement { verdict: why.verdict(), exit_status: None, reason: Some(reason.clone()), closing })
    }

    /// Judges the container's end; `tail` is the end of its log.
    pub fn judge(&mut self, exit: &Exit, limits: &Limits, tail: &str) -> Judgement {
        self.judged = true;
        if self.log_full && self.stop.is_none() {
            self.stop = Some((Stop::LogSize, stop::reason(Stop::LogSize, limits)));
        }
        let exit_status = Some(exit.status);
        let stop = self.stop.as_ref().filter(|(stop, _)| *stop != Stop::Preempted || exit.status != 0);
        if let Some((why, reason)) = stop {
            let closing = stop::text(*why, reason, limits);
            return Judgement { verdict: why.verdict(), exit_status, reason: Some(reason.clone()), closing };
        }
        let verdict = Verdict::of_exit_status(exit.status);
        if verdict == Verdict::Passed {
            return Judgement { verdict, exit_status, reason: None, closing: String::new() };
        }
        let ended = reason::failed_command(tail).unwrap_or_else(|| format!("exit status {}", exit.status));
        match reason::lack(exit, limits, tail) {
            Some(lack) => {
                let closing = format!("\n\nThe job failed: {lack}.\n");
                Judgement { verdict, exit_status, reason: Some(format!("{lack} ({ended})")), closing }
            }
            None => Judgement { verdict, exit_status, reason: Some(ended), closing: String::new() },
        }
    }
}

/// The progress, shared by the parts of an attempt.
#[derive(Debug)]
pub struct Shared(Mutex<Progress>);

impl Shared {
    pub fn new(progress: Progress) -> Self {
        Self(Mutex::new(progress))
    }

    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the limits at every tick from one time to another. Returns the stop that this results in.
    fn watch(progress: &mut Progress, limits: &Limits, from: Instant, to: Instant) -> Option<Stop> {
        let ticks = (0..).map(|tick| from + TICK * tick).take_while(|now| *now < to);
        ticks.chain([to]).find_map(|now| Some(progress.check(limits, now, None).stop?.0))
    }

    #[test]
    fn output_that_cannot_be_stored_is_no_silence() {
        let limits = Limits { silence: Duration::from_secs(10), ..Limits::default() };
        let mut progress = Progress::new(Some("c".to_owned()), None);
        let start = progress.last_output;
        progress.started = Some(start);
        progress.output_came();
        let hour = start + Duration::from_secs(3600);
        assert_eq!(watch(&mut progress, &Limits { time: Duration::MAX, ..limits.clone() }, start, hour), None);
        progress.output_stored();
        let stored = progress.last_output;
        let (just, late) = (stored + Duration::from_secs(10), stored + Duration::from_secs(11));
        progress.checked = stored;
        assert_eq!(watch(&mut progress, &limits, stored, just), None, "the silence begins after it");
        assert_eq!(watch(&mut progress, &limits, just, late), Some(Stop::Silence));
    }

    #[test]
    fn a_machine_that_stood_still_heard_nothing() {
        let limits = Limits { silence: Duration::from_secs(10), ..Limits::default() };
        let mut progress = Progress::new(Some("c".to_owned()), None);
        let start = progress.last_output;
        progress.started = Some(start);
        let awake = start + Duration::from_secs(60);
        assert_eq!(progress.check(&limits, awake, None).stop, None, "it may have said something");
        assert_eq!(watch(&mut progress, &limits, awake, awake + Duration::from_secs(11)), Some(Stop::Silence));
    }

    #[test]
    fn the_first_stop_counts_and_is_carried_out_once_the_container_runs() {
        let limits = Limits { silence: Duration::from_secs(10), ..Limits::default() };
        let mut progress = Progress::new(Some("c".to_owned()), None);
        let start = progress.last_output;
        let wanted = (Stop::Canceled, "not needed".to_owned());
        let due = progress.check(&limits, start, Some(wanted.clone()));
        assert_eq!(due, Due { stop: Some(wanted), signal: None });
        progress.started = Some(start);
        let late = start + Duration::from_secs(11);
        let due = progress.check(&limits, late, None);
        assert_eq!(due, Due { stop: None, signal: Some(("c".to_owned(), "SIGINT")) });
        let judged = progress.judge(&Exit { status: 130, out_of_memory: false }, &limits, "");
        assert_eq!((judged.verdict, judged.reason.as_deref()), (Verdict::Canceled, Some("not needed")));
    }

    #[test]
    fn a_job_that_nobody_sees_breaks_no_limit() {
        let limits = Limits { silence: Duration::from_secs(10), ..Limits::default() };
        let mut progress = Progress::new(Some("c".to_owned()), None);
        let start = progress.last_output;
        progress.started = Some(start);
        progress.output_lost();
        progress.set_engine_reachable(false);
        let late = start + Duration::from_secs(11);
        assert_eq!(watch(&mut progress, &limits, start, late), None);
        progress.set_engine_reachable(true);
        assert_eq!(progress.check(&limits, late, None).stop, None, "the output is not found again yet");
        progress.output_resumed();
        let resumed = progress.last_output;
        assert_eq!(progress.check(&limits, resumed, None).stop, None, "it may have said something");
        assert_eq!(watch(&mut progress, &limits, resumed, resumed + Duration::from_secs(11)), Some(Stop::Silence));
    }

    #[test]
    fn an_end_that_nobody_saw_counts_with_the_last_words_only() {
        let exit = |status| Exit { status, out_of_memory: false };
        let unknown = |exit: &Exit, tail: &str| Progress::new(None, None).end_is_unknown(exit, tail);
        assert!([0, 1, 137, 255].iter().all(|status| unknown(&exit(*status), "line 7\n")));
        assert!(!unknown(&exit(0), "\nDone. Your build exited with 0.\n"));
        assert!(!unknown(&exit(2), "The package is not there.\n"), "a set-up that failed says nothing more");
        assert!(!unknown(&Exit { status: 137, out_of_memory: true }, ""));
        let stopped = Progress::new(None, Some((Stop::Canceled, "canceled by ada".to_owned())));
        assert!(!stopped.end_is_unknown(&exit(137), ""));
    }

    #[test]
    fn a_job_that_has_ended_breaks_no_limit_any_more() {
        let limits = Limits { silence: Duration::from_secs(10), ..Limits::default() };
        let mut progress = Progress::new(Some("c".to_owned()), None);
        let start = progress.last_output;
        progress.started = Some(start);
        assert_eq!(progress.judge(&Exit { status: 0, out_of_memory: false }, &limits, "").verdict, Verdict::Passed);
        let due = progress.check(&limits, start + Duration::from_secs(60), None);
        assert_eq!(due, Due { stop: None, signal: None });
    }

    #[test]
    fn a_job_that_gives_way_after_its_end_has_passed() {
        let limits = Limits::default();
        let stop = Some((Stop::Preempted, "a job waits".to_owned()));
        let (done, stopped) = (Exit { status: 0, out_of_memory: false }, Exit { status: 130, out_of_memory: false });
        let mut progress = Progress::new(None, stop);
        assert_eq!((progress.preempted(&done), progress.preempted(&stopped)), (None, Some("a job waits")));
        assert_eq!(progress.judge(&done, &limits, "").verdict, Verdict::Passed);
        assert!(progress.judge(&stopped, &limits, "").closing.contains("It begins again"));
    }

    #[test]
    fn a_job_that_is_not_stopped_is_judged_by_its_exit() {
        let limits = Limits::default();
        let judge = |status, out_of_memory, tail: &str| {
            let judged = Progress::new(None, None).judge(&Exit { status, out_of_memory }, &limits, tail);
            (judged.verdict, judged.reason)
        };
        assert_eq!(judge(0, false, ""), (Verdict::Passed, None));
        let failed = "The command \"pytest\" exited with 2.\n";
        assert_eq!(judge(1, false, failed), (Verdict::Failed, Some("\"pytest\" exited with 2".to_owned())));
        let reason = "out of memory: the limit is 4.0 GiB (\"pytest\" exited with 2)".to_owned();
        assert_eq!(judge(1, true, failed), (Verdict::Failed, Some(reason)));
        assert_eq!(judge(0, true, ""), (Verdict::Passed, None), "what was killed was not needed");
        assert_eq!(judge(3, false, ""), (Verdict::Errored, Some("exit status 3".to_owned())));
    }
}
