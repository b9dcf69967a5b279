//! Attacks on the service, by family. Each case names the bound or the refusal that it expects.
//!
//! | family | OWASP CI/CD | findings | the attacker |
//! |---|---|---|---|
//! | `planning` | 4, 7 | H1, H2, M10 | the author of a commit, whose files eat memory and time |
//! | `statuses` | 7, 8 | H3, M13 | a GitHub that refuses, and a clock that jumps |
//! | `pace` | 7, 8 | H3 | floods of wishes, which use up what others need |
//! | `queue` | 1 | H4 | the author of a pull request, who wants every slot |
//! | `forks` | 1, 4 | H4 | the author of a pull request from a fork, whose code nobody has approved |
//! | `people::commands` | 1, 2 | H4 | people who may not push, and webhooks that speak in the name of those who may |
//! | `people::labels` | 1, 2 | issue 16 | people who may set labels and may not push, and labels for another commit |
//! | `deliveries` | 1, 2 | H6, M2 | the owner of a webhook's secret, and strangers |
//! | `travis` | 1, 2 | issue 16 | strangers with a build on Travis, or a webhook of it that they saw |
//! | `pages` | 7, 10 | M3, M4 | readers of pages, in floods |
//! | `git` | 3, 6, 7 | H7, M1, M9 | a git server or a repository that fills disks or wants the token |
//! | `caches` | 4, 6, 9 | M6, M7, M8 | forks and tags that write or read caches |
//! | `network` | 5 | M14 | a job that looks for services inside |
//! | `app` | 2, 6 | | a webhook without the GitHub App, and whoever looks for its tokens and its key |
//! | `notifications` | 5, 6 | issue 16 | the author of a `.travis.yml` whose webhooks lead inside |
//! | `people::sessions` | 2, 6 | | other sites, planted cookies, stolen tokens, and strangers who look for private repositories |
//! | `people::setup` | 2, 6 | issue 16 | whoever reaches a fresh service, and wants to be its operator or to give it an App |
//! | `credentials` | 6 | M12 | a child process or a log that holds a token |
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod caches;
mod credentials;
mod deliveries;
mod forks;
mod git;
mod network;
mod notifications;
mod pace;
mod pages;
mod planning;
mod queue;
mod people;
mod statuses;
mod travis;
