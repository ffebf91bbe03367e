//! How long the services take: stated distributions, and where each comes from.
//!
//! The stand-ins answer within microseconds; these are added to that. They are a model, not a measurement of AWS: what a
//! run says about a percentile is as good as this file. Published figures were used where there were any, and the hop from
//! queue to function is fitted to one; the others are the ranges that operators report, and are marked so.

use std::f64::consts::TAU;
use std::time::Duration;

/// A distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Distribution {
    /// No time at all.
    None,
    /// The logarithm is normal: half are below `median`, nine in ten below `p90`.
    LogNormal { median: f64, p90: f64 },
    /// Straight lines between these quantiles.
    Quantiles(&'static [(f64, f64)]),
}

impl Distribution {
    /// One time.
    pub(crate) fn sample(self) -> Duration {
        let milliseconds = match self {
            Self::None => 0.0,
            Self::LogNormal { median, p90 } => {
                // 1.2816 is the ninth decile of the normal distribution; Box and Muller's way to a normal number.
                let sigma = (p90 / median).ln() / 1.281_6;
                let normal = (-2.0 * (1.0 - fastrand::f64()).ln()).sqrt() * (TAU * fastrand::f64()).cos();
                median * (sigma * normal).exp()
            }
            Self::Quantiles(quantiles) => {
                let at = fastrand::f64();
                let upper = quantiles.iter().position(|(quantile, _)| *quantile >= at).unwrap_or(quantiles.len() - 1);
                let ((q0, t0), (q1, t1)) = (quantiles[upper.saturating_sub(1)], quantiles[upper]);
                if q1 > q0 { t0 + (t1 - t0) * (at - q0) / (q1 - q0) } else { t1 }
            }
        };
        Duration::from_secs_f64(milliseconds / 1000.0)
    }

    /// In words, for the report.
    pub(crate) fn words(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::LogNormal { median, p90 } => {
                format!("log-normal, {:.1} to {p90} ms (P10 to P90), P50 {median} ms", median * median / p90)
            }
            Self::Quantiles(quantiles) => {
                let words: Vec<String> = quantiles.iter().map(|(q, t)| format!("P{:.0} {t}", q * 100.0)).collect();
                format!("{} ms", words.join(", "))
            }
        }
    }
}

/// Of everything that is not ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies {
    /// A function URL, from the request to the function's event.
    pub(crate) url: Distribution,
    /// Any call of DynamoDB.
    pub(crate) dynamodb: Distribution,
    /// `SendMessage` and the other calls of SQS. A message is in the queue at half of it.
    pub(crate) sqs: Distribution,
    /// From a message in the queue to the function's event, with a poller free.
    pub(crate) poll: Distribution,
    /// Any call of KMS.
    pub(crate) kms: Distribution,
    /// What AWS does before it starts a new environment's process; the process itself is started here and measured.
    pub(crate) environment: Distribution,
    /// The chat platform's send API.
    pub(crate) platform: Distribution,
}

impl Latencies {
    /// For counting and for processor time.
    pub(crate) const NONE: Self = Self {
        url: Distribution::None,
        dynamodb: Distribution::None,
        sqs: Distribution::None,
        poll: Distribution::None,
        kms: Distribution::None,
        environment: Distribution::None,
        platform: Distribution::None,
    };

    /// As on AWS, within one region.
    pub(crate) const AWS: Self = Self {
        // No published figure was found for function URLs; a warm invocation's overhead is commonly reported as 5 to 10 ms.
        url: Distribution::LogNormal { median: 6.0, p90: 12.0 },
        // "Single-digit millisecond performance" (aws.amazon.com/blogs/database/understanding-amazon-dynamodb-latency),
        // which is the service's side; with the network within a region 2 to 6 ms is what operators report.
        dynamodb: Distribution::LogNormal { median: 3.5, p90: 6.0 },
        // No published figure was found; operators report 5 to 15 ms.
        sqs: Distribution::LogNormal { median: 8.7, p90: 15.0 },
        // From before the producer's SendMessage to the consumer's handler, standard queue and event source mapping, 1,024
        // messages in eu-west-1: P10 13.7, P50 16.2, P90 33.8, P99 105 ms
        // (bitesizedserverless.com/bite/serverless-messaging-latency-compared, September 2022). These are that less half of
        // `sqs`, and they hold the invocation. The tail beyond P99 is a guess.
        poll: Distribution::Quantiles(&[(0.0, 7.0), (0.1, 9.3), (0.5, 11.6), (0.9, 28.5), (0.99, 100.0), (1.0, 250.0)]),
        // "Often under 10 ms" is the most that was found published.
        kms: Distribution::LogNormal { median: 8.7, p90: 15.0 },
        // AWS publishes none. Rust functions report an `Init Duration` of 18 to 22 ms (fulgurion.com, 2025), which begins
        // when the environment is there; what comes before it is commonly put at 100 to 250 ms.
        environment: Distribution::LogNormal { median: 150.0, p90: 300.0 },
        // Ours to choose: a send API some way away.
        platform: Distribution::LogNormal { median: 60.0, p90: 120.0 },
    };
}

/// Waits, as exactly as the runtime's timer can: it rounds up to whole milliseconds.
pub(crate) async fn wait(time: Duration) {
    const ROUNDING: Duration = Duration::from_micros(500);
    if !time.is_zero() {
        tokio::time::sleep(time.saturating_sub(ROUNDING)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(distribution: Distribution, at: usize) -> f64 {
        let mut times: Vec<f64> = (0..20_000).map(|_| distribution.sample().as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() * at / 100]
    }

    #[test]
    fn samples_have_the_quantiles_they_say() {
        let Latencies { dynamodb, poll, .. } = Latencies::AWS;
        assert!((quantile(dynamodb, 50) - 3.5).abs() < 0.2 && (quantile(dynamodb, 90) - 6.0).abs() < 0.4);
        assert!((quantile(poll, 50) - 11.6).abs() < 0.5 && (quantile(poll, 90) - 28.5).abs() < 2.0);
    }

    /// Half of a `SendMessage` and the poll together are the published hop.
    #[test]
    fn the_hop_is_the_published_one() {
        let Latencies { sqs, poll, .. } = Latencies::AWS;
        let mut hops: Vec<f64> =
            (0..50_000).map(|_| (sqs.sample() / 2 + poll.sample()).as_secs_f64() * 1000.0).collect();
        hops.sort_by(f64::total_cmp);
        for (at, published) in [(10, 13.7), (50, 16.2), (90, 33.8), (99, 105.0)] {
            let ours = hops[hops.len() * at / 100];
            assert!((ours / published - 1.0).abs() < 0.12, "P{at}: {ours:.1} ms, published {published} ms");
        }
    }
}
