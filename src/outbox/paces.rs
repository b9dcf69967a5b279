//! The paces of all tokens. GitHub counts requests for each token on its own: for the personal one, and for each
//! installation of the App. Other servers have no such limits, but a pause of one must not hold up the rest.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::pacing::{Answer, Consequence, Pacing, Request, Window};
use crate::domain::RepoId;
use crate::github::Holder;
use crate::store::wishes::{Choice, Requests, Urgency};

/// The pace of each token, and the token of each repository that a request was made for.
#[derive(Debug)]
pub(super) struct Paces {
    windows: Vec<Window>,
    paces: BTreeMap<Holder, Pacing>,
    holders: HashMap<RepoId, Holder>,
}

/// Returns the key under which the requests of a token of GitHub are stored: the number of the installation, or `None`
/// for the personal one. Those of other servers are not stored.
pub(super) fn github_token(holder: Holder) -> Option<Option<i64>> {
    match holder {
        Holder::Person => Some(None),
        Holder::Installation(number) => Some(Some(number)),
        Holder::Forge(_) => None,
    }
}

impl Paces {
    /// Returns the paces at `now`, after these requests of an earlier process.
    pub(super) fn new(windows: Vec<Window>, earlier: &BTreeMap<Option<i64>, Requests>, now: Instant) -> Self {
        let holder = |installation: &Option<i64>| installation.map_or(Holder::Person, Holder::Installation);
        let pace = |(installation, requests)| (holder(installation), Pacing::new(windows.clone(), requests, now));
        let mut paces: BTreeMap<Holder, Pacing> = earlier.iter().map(pace).collect();
        paces.entry(Holder::Person).or_insert_with(|| Pacing::new(windows.clone(), &Requests::default(), now));
        Self { windows, paces, holders: HashMap::new() }
    }

    /// Returns true if requests are counted at all.
    pub(super) fn counts(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Returns the wishes that may be sent now, or `None` when all have to wait.
    ///
    /// With several tokens, that of a repository is not known before its first wish. Such a wish is chosen whatever its
    /// urgency, and takes nothing from any pace until then.
    pub(super) fn choice(&self, has_several_tokens: bool, now: Instant) -> Option<Choice> {
        let choices: BTreeMap<Holder, Option<Choice>> =
            self.paces.iter().map(|(holder, pace)| (*holder, pace.choice(now))).collect();
        let of_person = choices.get(&Holder::Person).and_then(Option::as_ref);
        if !has_several_tokens {
            return of_person.cloned();
        }
        let is_open = !self.paces.get(&Holder::Person).is_some_and(|pace| pace.is_blocked(now));
        let least = is_open.then_some(Urgency::Retry);
        let all = || choices.values().flatten();
        if least.is_none() && all().next().is_none() {
            return None;
        }
        let mut without: Vec<RepoId> = all().flat_map(|choice| choice.without.iter().copied()).collect();
        let mut shares = Vec::new();
        for (repo, holder) in &self.holders {
            match choices.get(holder).and_then(Option::as_ref).and_then(|choice| choice.least) {
                Some(least) => shares.push((*repo, least)),
                None => without.push(*repo),
            }
        }
        let retries_first = all().any(|choice| choice.retries_first);
        Some(Choice { least, shares, retries_first, without })
    }

    /// Counts a request for a wish of this repository with this token. Returns false, and counts nothing, when it has to
    /// wait.
    pub(super) fn begin(&mut self, repo: RepoId, holder: Holder, urgency: Urgency, now: Instant) -> bool {
        self.holders.insert(repo, holder);
        self.pace(holder, now).begin(repo, urgency, now)
    }

    /// Draws the consequence of an answer to a request with this token.
    pub(super) fn record(&mut self, holder: Holder, request: Request, answer: Answer, now: Instant) -> Consequence {
        self.pace(holder, now).record(request, answer, now)
    }

    /// Draws the consequence of GitHub's refusal to give a token. It counts with the personal token: no other is known.
    pub(super) fn record_without_token(&mut self, request: Request, answer: Answer, now: Instant) -> Consequence {
        self.holders.remove(&request.repo);
        self.record(Holder::Person, request, answer, now)
    }

    /// Lets the repositories be tried again that GitHub has refused: the reason may have gone.
    pub(super) fn forget_refusals(&mut self) {
        self.holders.clear();
        self.paces.values_mut().for_each(Pacing::forget_refusals);
    }

    /// Returns the longest window of a token that has room for no request at all.
    pub(super) fn exhausted(&self, now: Instant) -> Option<Window> {
        let full = self.paces.values().filter_map(|pace| pace.exhausted(now));
        full.max_by_key(|window| window.within)
    }

    fn pace(&mut self, holder: Holder, now: Instant) -> &mut Pacing {
        let windows = if matches!(holder, Holder::Forge(_)) { &[] } else { self.windows.as_slice() };
        let new = || Pacing::new(windows.to_vec(), &Requests::default(), now);
        self.paces.entry(holder).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: RepoId = RepoId(1);
    const OTHER: RepoId = RepoId(2);
    const A: Holder = Holder::Installation(1);
    const B: Holder = Holder::Installation(2);

    fn paces(most: u32, now: Instant) -> Paces {
        let window = Window { most, within: Duration::from_secs(60) };
        Paces::new(vec![window], &BTreeMap::new(), now)
    }

    fn least(paces: &Paces, repo: RepoId, now: Instant) -> Option<Urgency> {
        let choice = paces.choice(true, now)?;
        let own = choice.shares.iter().find(|(of, _)| *of == repo).map(|(_, least)| *least);
        if choice.without.contains(&repo) { None } else { own.or(choice.least) }
    }

    #[test]
    fn one_token_does_not_use_up_what_another_has() {
        let now = Instant::now();
        let mut paces = paces(3, now);
        for _ in 0..3 {
            assert!(paces.begin(ONE, A, Urgency::Result, now));
        }
        assert!(!paces.begin(ONE, A, Urgency::Result, now));
        assert_eq!(least(&paces, ONE, now), None);
        assert!(paces.begin(OTHER, B, Urgency::Result, now));
        assert_eq!(least(&paces, OTHER, now), Some(Urgency::Retry));
        assert_eq!(paces.exhausted(now).map(|window| window.most), Some(3));
        assert_eq!(least(&paces, ONE, now + Duration::from_secs(61)), Some(Urgency::Retry));
    }

    #[test]
    fn a_rate_limit_of_one_token_holds_up_its_own_repositories() {
        let now = Instant::now();
        let mut paces = paces(100, now);
        assert!(paces.begin(ONE, A, Urgency::Result, now) && paces.begin(OTHER, B, Urgency::Result, now));
        let request = Request { repo: ONE, tries: 0, begun: now };
        let limit = Answer::RateLimited(Duration::from_secs(300));
        assert_eq!(paces.record(A, request, limit, now), Consequence::Quiet(Duration::from_secs(300)));
        assert_eq!((least(&paces, ONE, now), least(&paces, OTHER, now)), (None, Some(Urgency::Retry)));
        assert!(!paces.begin(ONE, A, Urgency::Result, now));
        assert!(paces.begin(OTHER, B, Urgency::Result, now));
    }

    #[test]
    fn a_repository_without_a_token_waits_and_comes_back_when_installations_change() {
        let now = Instant::now();
        let mut paces = paces(100, now);
        let request = Request { repo: ONE, tries: 0, begun: now };
        paces.record_without_token(request, Answer::RepositoryRefused, now);
        assert_eq!((least(&paces, ONE, now), least(&paces, OTHER, now)), (None, Some(Urgency::Retry)));
        paces.forget_refusals();
        assert_eq!(least(&paces, ONE, now), Some(Urgency::Retry));
    }

    #[test]
    fn without_an_app_there_is_one_pace() {
        let now = Instant::now();
        let mut paces = paces(3, now);
        for _ in 0..3 {
            assert!(paces.begin(ONE, Holder::Person, Urgency::Result, now));
        }
        assert!(paces.choice(false, now).is_none());
        assert!(!paces.begin(OTHER, Holder::Person, Urgency::Result, now));
    }
}
