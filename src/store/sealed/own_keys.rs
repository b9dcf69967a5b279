//! Key pairs of this installation: one signs notifications, the other statements of provenance. A pair is made at the
//! first request for it, and stored with its private half sealed.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::provenance::SigningKey;
use crate::repo_keys::{PrivateKey, Seal};

/// A private key of which an installation has one.
pub trait Private: Sized + Send + Sync + 'static {
    /// Name of the pair in the database.
    const NAME: &'static str;

    /// Makes a key. May block for a part of a second.
    ///
    /// # Errors
    /// Fails when the system provides no randomness.
    fn make() -> anyhow::Result<Self>;

    /// Returns the bytes that are stored, under the seal.
    ///
    /// # Errors
    /// Fails when the library cannot write the key.
    fn to_bytes(&self) -> anyhow::Result<Zeroizing<Vec<u8>>>;

    /// Reads the bytes that were stored.
    ///
    /// # Errors
    /// Fails when the bytes are not a key.
    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self>;

    /// Returns the public half as PEM.
    ///
    /// # Errors
    /// Fails when the library cannot write it.
    fn public_pem(&self) -> anyhow::Result<String>;
}

impl Private for PrivateKey {
    const NAME: &'static str = "notifications";

    fn make() -> anyhow::Result<Self> {
        Ok(Self::generate_for_signatures()?)
    }

    fn to_bytes(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        Ok(self.to_pkcs8()?)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self::from_pkcs8(bytes)?)
    }

    fn public_pem(&self) -> anyhow::Result<String> {
        Ok(Self::public_pem(self)?)
    }
}

impl Private for SigningKey {
    const NAME: &'static str = "provenance";

    fn make() -> anyhow::Result<Self> {
        Ok(Self::generate()?)
    }

    fn to_bytes(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        Ok(self.seed()?)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self::from_seed(bytes)?)
    }

    fn public_pem(&self) -> anyhow::Result<String> {
        Ok(self.public().to_pem())
    }
}

/// The key pair that signs notifications.
pub type NotificationKey = OwnKey<PrivateKey>;
/// The key pair that signs statements of provenance.
pub type ProvenanceKey = OwnKey<SigningKey>;

/// A key pair of this installation.
pub struct OwnKey<K> {
    db: PgPool,
    seal: Arc<Seal>,
    pair: Arc<OnceCell<Pair<K>>>,
}

struct Pair<K> {
    private: Arc<K>,
    public: String,
}

impl<K> Clone for OwnKey<K> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone(), seal: Arc::clone(&self.seal), pair: Arc::clone(&self.pair) }
    }
}

impl<K: Private> fmt::Debug for OwnKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnKey({})", K::NAME)
    }
}

impl<K: Private> OwnKey<K> {
    /// Returns the key pair in this database, under this seal.
    pub fn new(db: PgPool, seal: Arc<Seal>) -> Self {
        Self { db, seal, pair: Arc::default() }
    }

    /// Returns the public half as PEM.
    ///
    /// # Errors
    /// Fails when the key was sealed by another server, and when Postgres does not answer.
    pub async fn public(&self) -> anyhow::Result<String> {
        Ok(self.pair().await?.public.clone())
    }

    /// Returns the private half.
    ///
    /// # Errors
    /// Fails as [`Self::public`] does.
    pub async fn private(&self) -> anyhow::Result<Arc<K>> {
        Ok(Arc::clone(&self.pair().await?.private))
    }

    async fn pair(&self) -> anyhow::Result<&Pair<K>> {
        self.pair.get_or_try_init(|| self.read_or_make()).await
    }

    async fn read_or_make(&self) -> anyhow::Result<Pair<K>> {
        if let Some(pair) = self.read().await? {
            return Ok(pair);
        }
        // This may take a part of a second, so it must not block a thread that serves others.
        let made = tokio::task::spawn_blocking(|| -> anyhow::Result<_> {
            let key = K::make()?;
            Ok((key.to_bytes()?, key.public_pem()?))
        });
        let (private, public) = made.await.context("making a key pair")??;
        // If another process was faster, its pair counts.
        sqlx::query("insert into own_key (name, private_key, public_key) values ($1, $2, $3) on conflict do nothing")
            .bind(K::NAME)
            .bind(self.seal.seal(&sealed_as::<K>(), &private)?)
            .bind(public)
            .execute(&self.db)
            .await
            .with_context(|| format!("storing the key of {}", K::NAME))?;
        self.read().await?.context("a key pair that was stored is gone")
    }

    async fn read(&self) -> anyhow::Result<Option<Pair<K>>> {
        let stored: Option<(Vec<u8>, String)> =
            sqlx::query_as("select private_key, public_key from own_key where name = $1")
                .bind(K::NAME)
                .fetch_optional(&self.db)
                .await
                .with_context(|| format!("reading the key of {}", K::NAME))?;
        let Some((sealed, public)) = stored else { return Ok(None) };
        let clear = self.seal.open(&sealed_as::<K>(), &sealed).with_context(|| {
            let name = K::NAME;
            format!("the stored key of {name}: is the file `seal.key` in the data folder the one it was made with?")
        })?;
        let private = K::from_bytes(&clear).with_context(|| format!("the stored key of {}", K::NAME))?;
        Ok(Some(Pair { private: Arc::new(private), public }))
    }
}

/// Returns the name under which a key is sealed.
fn sealed_as<K: Private>() -> String {
    format!("key of {}", K::NAME)
}
