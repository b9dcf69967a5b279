//! Forms of our pages.

use std::net::IpAddr;

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use url::form_urlencoded;

use crate::web::State;
use crate::web::access::{InBrowser, View, Viewer, address, secret};
use crate::web::error::Error;

/// Maximum size of a form, in bytes.
const MAX_FORM: usize = 16 << 10;

/// The fields of a form.
pub(in crate::web) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the form in a request.
    pub(in crate::web) async fn read(state: &State, request: Request) -> Result<Self, Error> {
        let received = state.webhook_room.receive(request.into_body(), MAX_FORM).await?;
        let pairs = form_urlencoded::parse(&received.bytes);
        // Postgres has no NUL in text.
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.replace('\0', "")));
        Ok(Self(pairs.collect()))
    }

    /// Returns the value of a field, which is empty for a field that is missing.
    pub(in crate::web) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(its, _)| its == name).map_or("", |(_, value)| value)
    }
}

/// A form that a page of the viewer's session has sent. The gate has checked the origin of the request.
pub(in crate::web) struct OwnForm {
    pub(in crate::web) browser: InBrowser,
    pub(in crate::web) fields: Fields,
    /// Address that the form comes from.
    pub(in crate::web) from: Option<IpAddr>,
}

impl FromRequest<State> for OwnForm {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let view = View::from_request_parts(&mut parts, state).await?;
        let from = address(&parts.extensions, &parts.headers);
        let Viewer::Person(browser) = &*view.viewer else { return Err(Error::Foreign) };
        let fields = Fields::read(state, Request::from_parts(parts, body)).await?;
        if !secret::is_same(fields.get("csrf"), &browser.csrf) {
            return Err(Error::Foreign);
        }
        Ok(Self { browser: browser.clone(), fields, from })
    }
}
