//! Addresses of charts for readers at GitHub and in chats. Their servers fetch them without a login, so the address itself
//! is the permission: it is signed, for one attempt and until a time.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::AttemptId;
use crate::repo_keys::Seal;

/// Time from the end of a job until which the address of its chart is good.
const LASTS: TimeDelta = TimeDelta::days(90);

/// Form of a chart. Chats show no SVG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartForm {
    Svg,
    Png,
}

impl ChartForm {
    const ALL: [Self; 2] = [Self::Svg, Self::Png];

    fn extension(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
        }
    }

    /// Splits the last part of an address into the signature and the form.
    pub fn split(file: &str) -> Option<(&str, Self)> {
        let (signature, extension) = file.rsplit_once('.')?;
        Some((signature, Self::ALL.into_iter().find(|form| form.extension() == extension)?))
    }
}

/// The signer of addresses of charts.
#[derive(Debug, Clone)]
pub struct ChartLinks(Arc<Seal>);

impl ChartLinks {
    /// Returns a signer with the key of this installation.
    pub fn new(seal: Arc<Seal>) -> Self {
        Self(seal)
    }

    /// Returns the path of the chart of an attempt that ended at a time. It is always the same, so that a text with it
    /// does not change.
    pub fn path(&self, attempt: AttemptId, ended: DateTime<Utc>, form: ChartForm) -> String {
        let until = (ended + LASTS).timestamp();
        let AttemptId { job, number } = attempt;
        let signature = self.0.sign(&signed(attempt, until));
        format!("/charts/{job}/{number}/{until}/{signature}.{}", form.extension())
    }

    /// Returns true if the address of a chart is one of ours, and is still good at `now`.
    pub fn allow(&self, attempt: AttemptId, until: i64, signature: &str, now: DateTime<Utc>) -> bool {
        now.timestamp() < until && self.0.has_signed(&signed(attempt, until), signature)
    }
}

fn signed(attempt: AttemptId, until: i64) -> String {
    format!("chart {attempt} until {until}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    #[test]
    fn an_address_is_good_for_one_chart_until_its_time() {
        let links = |key| ChartLinks::new(Arc::new(Seal::new(&[key; 32]).unwrap()));
        let attempt = AttemptId { job: JobId(12), number: 2 };
        let ended = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let path = links(7).path(attempt, ended, ChartForm::Svg);
        assert_eq!(path, links(7).path(attempt, ended, ChartForm::Svg));
        let parts: Vec<&str> = path.split('/').collect();
        let (until, file) = (parts[4].parse::<i64>().unwrap(), parts[5]);
        let (signature, form) = ChartForm::split(file).unwrap();
        assert_eq!(form, ChartForm::Svg);
        let picture = links(7).path(attempt, ended, ChartForm::Png);
        assert_eq!(picture, path.replace(".svg", ".png"));
        assert!(ChartForm::split(signature).is_none() && ChartForm::split("a.gif").is_none());
        assert!(links(7).allow(attempt, until, signature, ended));
        let later = ended + LASTS;
        let (other, mut forged) = (AttemptId { number: 1, ..attempt }, signature.to_owned());
        forged.replace_range(..1, if forged.starts_with('0') { "1" } else { "0" });
        for (links, attempt, until, signature, now) in [
            (links(8), attempt, until, signature, ended),
            (links(7), other, until, signature, ended),
            (links(7), attempt, until + 1, signature, ended),
            (links(7), attempt, until, &forged, ended),
            (links(7), attempt, until, "", ended),
            (links(7), attempt, until, "not hexadecimal", ended),
            (links(7), attempt, until, signature, later),
        ] {
            assert!(!links.allow(attempt, until, signature, now), "{attempt} {until} {signature} {now}");
        }
    }
}
