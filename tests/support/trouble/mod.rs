//! Trouble on demand in front of a stand-in: requests that fail, hang, or lose their answers. Several stand-ins may share
//! one, which then counts the requests of all.

pub mod random;

use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Trouble with the requests of one kind, such as `POST commit`.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An answer in place of the right one, without effect.
    Refuse(u16, &'static [(&'static str, &'static str)]),
    /// The request takes effect, and its answer breaks off.
    LoseAnswer,
}

/// A place at which a request hangs for good, counted from the first request.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub request: usize,
    /// True if the request has taken effect by then.
    pub after: bool,
}

#[derive(Debug, Default)]
struct Plans {
    faults: Vec<(&'static str, Fault)>,
    cut: Option<Cut>,
    /// Kinds of the requests so far.
    asked: Vec<String>,
}

/// The trouble, and the kinds of the requests that have come.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Plans>>);

impl Trouble {
    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.0.lock().unwrap()
    }

    /// Lets the next requests of a kind fail, each in its own way.
    pub fn will_fail(&self, kind: &'static str, faults: &[Fault]) {
        self.plans().faults.extend(faults.iter().map(|fault| (kind, fault.clone())));
    }

    /// Lets a request hang, and counts from here.
    pub fn will_hang(&self, cut: Option<Cut>) {
        let mut plans = self.plans();
        plans.asked.clear();
        plans.cut = cut;
    }

    /// Lists the kinds of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.plans().asked.clone()
    }

    /// Passes a request of this kind on, or makes it fail or hang.
    pub async fn meet(&self, kind: String, request: Request, next: Next) -> Response {
        let (cut, fault) = {
            let mut plans = self.plans();
            plans.asked.push(kind.clone());
            let number = plans.asked.len() - 1;
            let place = plans.faults.iter().position(|(of, _)| *of == kind);
            let fault = place.map(|place| plans.faults.remove(place).1);
            (plans.cut.filter(|cut| cut.request == number), fault)
        };
        if cut.is_some_and(|cut| !cut.after) {
            std::future::pending::<()>().await;
        }
        if let Some(Fault::Refuse(status, headers)) = fault {
            let body = "{\"error\": \"on demand\", \"message\": \"on demand\"}";
            let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
            headers.iter().for_each(|(name, value)| drop(answer.headers_mut().insert(*name, value.parse().unwrap())));
            return answer;
        }
        let answer = next.run(request).await;
        if cut.is_some() {
            std::future::pending::<()>().await;
        }
        match fault {
            Some(Fault::LoseAnswer) => {
                let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("the connection is lost"))]);
                Response::new(Body::from_stream(broken))
            }
            _ => answer,
        }
    }
}
