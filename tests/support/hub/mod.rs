//! A stand-in for the Hugging Face Hub: repositories of models in memory, behind HTTP. It checks each request as the Hub
//! does: the token, the hash and the size of what is uploaded, the form of a commit and its parent, and the limit on
//! commits. It fails on demand.

mod api;
mod lfs;
mod model;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::trouble::Trouble;
use model::Model;
pub use model::{Blob, Repository};

/// Token that may write to the repositories of [`OWNER`].
pub const TOKEN: &str = "hf_0123456789abcdefghijklmnopqrstuvwx";
pub const OWNER: &str = "acme";
/// Size of a part of a file, above which files go there in parts.
pub const PART: usize = 1 << 20;

#[derive(Default)]
struct Desk {
    model: Model,
    /// Reasons for refusals that a correct client never sees.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Desk>>;

/// A running stand-in.
pub struct HubServer {
    pub address: SocketAddr,
    pub trouble: Trouble,
    desk: Shared,
    _serving: JoinSet<()>,
}

impl HubServer {
    pub async fn start() -> Self {
        Self::with(Trouble::default()).await
    }

    /// Starts with trouble that others share.
    pub async fn with(trouble: Trouble) -> Self {
        Self::at("127.0.0.1", trouble).await
    }

    /// Starts at an address, such as that which containers reach.
    pub async fn at(address: &str, trouble: Trouble) -> Self {
        let desk = Shared::default();
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        desk.lock().unwrap().model.endpoint = format!("http://{address}");
        let router: Router = api::router()
            .merge(lfs::router())
            .layer(middleware::from_fn_with_state(trouble.clone(), spoil))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, trouble, desk, _serving: serving }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the section of a configuration with which acme's repositories publish here.
    pub fn section(&self) -> String {
        self.section_with(TOKEN)
    }

    pub fn section_with(&self, token: &str) -> String {
        format!(
            "[[publish.huggingface]]\nname = \"acme\"\nrepos = [\"acme/*\"]\nto = [\"acme/*\"]\ntoken = \"{token}\"\n\
             endpoint = \"{}\"\n",
            self.endpoint()
        )
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// Makes a repository as a person would.
    pub fn make(&self, repo: &str, private: bool) {
        self.desk().model.make(repo, private);
    }

    /// Commits a file as somebody else.
    pub fn commit(&self, repo: &str, path: &str, text: &str) {
        let mut desk = self.desk();
        let repository = desk.model.repositories.get_mut(repo).unwrap();
        let mut tree = repository.last().tree.clone();
        tree.insert(path.to_owned(), Blob::regular(text.as_bytes().to_vec()));
        repository.add("By somebody else", "", tree);
    }

    /// Makes a repository of these files as a person would; `datasets/OWNER/NAME` for data. Returns the id of its commit.
    pub fn make_of(&self, repo: &str, files: &[(&str, Blob)]) -> String {
        let mut desk = self.desk();
        desk.model.make(repo, true);
        let repository = desk.model.repositories.get_mut(repo).unwrap();
        let mut tree = repository.last().tree.clone();
        tree.extend(files.iter().map(|(path, blob)| ((*path).to_owned(), blob.clone())));
        repository.add("Data", "", tree)
    }

    /// Returns the section of a configuration with which acme's trainings read here.
    pub fn inputs_section(&self, token: &str) -> String {
        format!(
            "[inputs]\nhub = \"{}\"\nallow = [\"127.0.0.1\"]\n[[inputs.huggingface]]\nname = \"acme\"\n\
             repos = [\"acme/*\"]\nfrom = [\"acme/*\"]\ntoken = \"{token}\"\n",
            self.endpoint()
        )
    }

    /// Returns a repository as it is now.
    pub fn repository(&self, repo: &str) -> Option<Repository> {
        self.desk().model.repositories.get(repo).cloned()
    }

    /// Lists what no correct client asks for.
    pub fn wrong(&self) -> Vec<String> {
        self.desk().wrong.clone()
    }
}

/// Returns the kind of a request: its method, and the word of its path that says what it wants.
fn kind(request: &Request) -> String {
    const WORDS: [&str; 11] =
        ["create", "preupload", "batch", "part", "object", "complete", "verify", "commit", "commits", "tag", "tree"];
    let path = request.uri().path();
    let word = path.split('/').find(|part| WORDS.contains(part));
    let word = word.unwrap_or(if path.contains("/resolve/") { "resolve" } else { "state" });
    format!("{} {word}", request.method())
}

/// Makes requests fail or hang.
async fn spoil(State(trouble): State<Trouble>, request: Request, next: Next) -> Response {
    let kind = kind(&request);
    trouble.meet(kind, request, next).await
}
