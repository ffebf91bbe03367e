//! Who may call: the networks that a platform says it calls from.
//!
//! An optional check before all others, for platforms that publish their addresses. It proves nothing that a signature
//! does not prove better; it keeps everybody else from costing anything.

use std::net::IpAddr;
use std::str::FromStr;

use hoopoe_aws::Environment;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

/// The variable with the list: networks as `149.154.160.0/20` or `2001:db8::/32`, or single addresses, with commas
/// between them. Everybody may call where it is missing, empty or `any`.
const VARIABLE: &str = "ALLOWED_NETWORKS";

/// The networks that a webhook takes requests from.
///
/// The source address is the one that Lambda saw at the other end of the connection (`requestContext.http.sourceIp`).
/// Headers such as `X-Forwarded-For` are never looked at, since whoever calls may write into them what they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedNetworks(Option<Box<[Network]>>);

impl AllowedNetworks {
    /// Reads ALLOWED_NETWORKS.
    ///
    /// # Errors
    ///
    /// When an entry is not a network: half a list would lock the platform out, or let others in.
    pub fn from_environment(environment: Environment) -> Result<Self, NetworksError> {
        environment.optional(VARIABLE).unwrap_or_default().parse()
    }

    /// Whether this request comes from one of them.
    ///
    /// # Errors
    ///
    /// When it does not, or where it comes from cannot be told.
    pub fn check(&self, request: &Request) -> Result<(), OutsideError> {
        let Some(networks) = &self.0 else { return Ok(()) };
        let source = source(request);
        if source.is_some_and(|source| networks.iter().any(|network| network.contains(source))) {
            return Ok(());
        }
        Err(OutsideError(source))
    }
}

impl FromStr for AllowedNetworks {
    type Err = NetworksError;

    fn from_str(list: &str) -> Result<Self, NetworksError> {
        match list.trim() {
            "" | "any" => Ok(Self(None)),
            list => list.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, _>>().map(Some).map(Self),
        }
    }
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// The first of them; all bits after the prefix are zero.
    first: IpAddr,
    /// How many bits are the same: up to 32 for IPv4, up to 128 for IPv6.
    prefix: u32,
}

impl Network {
    /// An IPv4 address is in no IPv6 network and the other way round. Both are expected in their canonical form.
    fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (bits(self.first) ^ bits(address)).leading_zeros() >= self.prefix
    }
}

impl FromStr for Network {
    type Err = NetworksError;

    fn from_str(entry: &str) -> Result<Self, NetworksError> {
        let wrong = || NetworksError::Entry(entry.to_owned());
        let (address, prefix) =
            entry.split_once('/').map_or((entry, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            // `parse` would also take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if prefix > width {
            return Err(wrong());
        }
        // An IPv4 network written as IPv6, `::ffff:149.154.160.0/116`, is that IPv4 network.
        let (first, prefix) = match address.to_canonical() {
            first if first.is_ipv4() && width == 128 && prefix >= 96 => (first, prefix - 96),
            _ => (address, prefix),
        };
        // A list that says one address and means thousands is a slip of the pen.
        if bits(first).checked_shl(prefix).unwrap_or_default() != 0 {
            return Err(NetworksError::Host { entry: entry.to_owned(), prefix });
        }
        Ok(Self { first, prefix })
    }
}

/// The address's bits, from the left.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Where a request comes from, as Lambda saw it; an IPv4 address that is written as IPv6, `::ffff:149.154.160.1`, as
/// IPv4.
fn source(request: &Request) -> Option<IpAddr> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => {
            context.http.source_ip.as_deref()?.parse().ok().map(|address: IpAddr| address.to_canonical())
        }
        _ => None,
    }
}

/// ALLOWED_NETWORKS is not a list of networks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// An entry cannot be read.
    #[error(
        "the environment variable {VARIABLE} has the entry \"{0}\", which is neither an IP address nor a network such as \
         149.154.160.0/20 or 2001:db8::/32"
    )]
    Entry(String),
    /// An entry's address has bits after its prefix.
    #[error(
        "the environment variable {VARIABLE} has the entry \"{entry}\", whose address is not the first of its network: \
         not all bits after the first {prefix} are zero"
    )]
    Host {
        /// The entry.
        entry: String,
        /// How many bits its network has.
        prefix: u32,
    },
}

/// A request comes from none of the networks. Holds its source address where that is known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request comes from {}, which is not in {VARIABLE}", .0.map_or("an unknown address".to_owned(), |source| source.to_string()))]
pub struct OutsideError(pub Option<IpAddr>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A request as Lambda hands it over, from an address, with further headers.
    fn request(source: &Value, headers: Value) -> Request {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/telegram/main", "rawQueryString": "",
            "headers": headers, "body": "{}", "isBase64Encoded": false,
            "requestContext": {"http": {"method": "POST", "path": "/telegram/main", "sourceIp": source}},
        });
        lambda_http::request::from_str(&event.to_string()).expect("an event of a function URL")
    }

    fn networks(list: &str) -> AllowedNetworks {
        list.parse().unwrap_or_else(|error| panic!("{list}: {error}"))
    }

    fn lets_in(list: &str, source: &str) -> bool {
        networks(list).check(&request(&source.into(), json!({}))).is_ok()
    }

    #[test]
    fn without_a_list_everybody_may_call() {
        for list in ["", " ", "any", " any "] {
            assert_eq!(networks(list), AllowedNetworks(None), "{list:?}");
            for source in [json!("203.0.113.7"), json!("2001:db8::7"), json!("nonsense"), Value::Null] {
                assert_eq!(networks(list).check(&request(&source, json!({}))), Ok(()), "{list:?} {source}");
            }
        }
    }

    #[test]
    fn a_list_lets_in_its_networks_alone() {
        let list = "149.154.160.0/20, 91.108.4.0/22,2001:db8:4::/48,198.51.100.7,2001:db8::1";
        for source in [
            "149.154.160.0",
            "149.154.175.255",
            "91.108.4.1",
            "91.108.7.255",
            "198.51.100.7",
            "2001:db8:4::",
            "2001:db8:4:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::1",
        ] {
            assert!(lets_in(list, source), "{source}");
        }
        for source in [
            "149.154.159.255",
            "149.154.176.0",
            "91.108.3.255",
            "91.108.8.0",
            "198.51.100.6",
            "2001:db8:5::",
            "2001:db8::2",
        ] {
            assert!(!lets_in(list, source), "{source}");
        }
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_both_spellings() {
        for list in ["149.154.160.0/20", "::ffff:149.154.160.0/116", "::ffff:959a:a000/116"] {
            assert!(lets_in(list, "149.154.167.197"), "{list}");
            assert!(lets_in(list, "::ffff:149.154.167.197"), "{list}");
            assert!(!lets_in(list, "::ffff:149.154.176.1"), "{list}");
            assert!(!lets_in(list, "2001:db8::1"), "{list}");
        }
        assert!(lets_in("0.0.0.0/0", "::ffff:149.154.167.197"));
        assert!(!lets_in("0.0.0.0/0", "2001:db8::1"));
        assert!(!lets_in("::/0", "149.154.167.197"));
        assert!(!lets_in("::/0", "::ffff:149.154.167.197"));
        assert!(lets_in("::/0", "2001:db8::1"));
    }

    #[test]
    fn what_a_caller_writes_into_headers_changes_nothing() {
        let networks = networks("149.154.160.0/20,2001:db8:4::/48");
        let headers = |address: &str| {
            json!({
                "x-forwarded-for": address, "x-real-ip": address, "true-client-ip": address, "client-ip": address,
                "cf-connecting-ip": address, "cloudfront-viewer-address": format!("{address}:443"),
                "forwarded": format!("for={address}"), "x-amz-source-ip": address, "sourceip": address,
            })
        };
        for source in [json!("203.0.113.7"), json!("2001:db8:5::7")] {
            let address = source.as_str().expect("a text").parse().expect("an address");
            for forged in ["149.154.167.197", "2001:db8:4::7", "149.154.167.197, 149.154.167.198"] {
                let outcome = networks.check(&request(&source, headers(forged)));
                assert_eq!(outcome, Err(OutsideError(Some(address))), "{source} {forged}");
            }
        }
        // Neither do they lock the platform out, nor stand in for an address that is missing.
        assert_eq!(networks.check(&request(&json!("149.154.167.197"), headers("203.0.113.7"))), Ok(()));
        assert_eq!(networks.check(&request(&Value::Null, headers("149.154.167.197"))), Err(OutsideError(None)));
    }

    #[test]
    fn an_address_that_is_missing_or_unreadable_is_outside_every_network() {
        let networks = networks("0.0.0.0/0,::/0");
        for source in [
            Value::Null,
            json!(""),
            json!("nonsense"),
            json!("149.154.167.197:443"),
            json!(" 149.154.167.197"),
            json!("any"),
        ] {
            assert_eq!(networks.check(&request(&source, json!({}))), Err(OutsideError(None)), "{source}");
        }
        assert_eq!(networks.check(&Request::default()), Err(OutsideError(None)), "no function URL");
    }

    #[test]
    fn a_wrong_entry_is_named_with_its_variable() {
        for (list, entry) in [
            ("149.154.160.0/20,everyone", "everyone"),
            ("any,149.154.160.0/20", "any"),
            ("149.154.160.0/20,", ""),
            (",", ""),
            ("149.154.160.0/33", "149.154.160.0/33"),
            ("2001:db8::/129", "2001:db8::/129"),
            ("149.154.160.0/", "149.154.160.0/"),
            ("149.154.160.0/+20", "149.154.160.0/+20"),
            ("149.154.160.0/-1", "149.154.160.0/-1"),
            ("149.154.160.0/99999999999", "149.154.160.0/99999999999"),
            ("149.154.160.0/20/20", "149.154.160.0/20/20"),
            ("149.154.160.0/255.255.240.0", "149.154.160.0/255.255.240.0"),
            ("149.154.160/20", "149.154.160/20"),
            // Octal to some, decimal to others.
            ("0149.154.160.0/20", "0149.154.160.0/20"),
            ("149.154.160.0/20 91.108.4.0/22", "149.154.160.0/20 91.108.4.0/22"),
            ("[2001:db8::]/32", "[2001:db8::]/32"),
        ] {
            let error = list.parse::<AllowedNetworks>().expect_err(list);
            assert_eq!(error, NetworksError::Entry(entry.to_owned()), "{list}");
            let sentence = error.to_string();
            assert!(sentence.contains("ALLOWED_NETWORKS") && sentence.contains(&format!("\"{entry}\"")), "{sentence}");
        }
    }

    #[test]
    fn an_entry_with_bits_after_its_prefix_is_named_with_its_variable() {
        for (entry, prefix) in [
            ("149.154.167.197/20", 20),
            ("0.0.0.1/0", 0),
            ("149.154.160.1/31", 31),
            ("2001:db8::1/32", 32),
            ("2001:db8::1/127", 127),
            ("::ffff:149.154.167.197/116", 20),
        ] {
            let error = format!("91.108.4.0/22,{entry}").parse::<AllowedNetworks>().expect_err(entry);
            assert_eq!(error, NetworksError::Host { entry: entry.to_owned(), prefix });
            let sentence = error.to_string();
            assert!(sentence.contains("ALLOWED_NETWORKS") && sentence.contains(&format!("\"{entry}\"")), "{sentence}");
        }
    }

    /// A network and its first and last address, as numbers.
    fn a_network() -> impl Strategy<Value = (Network, u128, u128)> {
        let v4 = (any::<u32>(), 0..=32_u32).prop_map(|(address, prefix)| {
            let rest = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let (first, last) = (address & !rest, address | rest);
            (Network { first: IpAddr::V4(first.into()), prefix }, u128::from(first), u128::from(last))
        });
        let v6 = (any::<u128>(), 0..=128_u32).prop_map(|(address, prefix)| {
            let rest = u128::MAX.checked_shr(prefix).unwrap_or(0);
            let (first, last) = (address & !rest, address | rest);
            (Network { first: IpAddr::V6(first.into()), prefix }, first, last)
        });
        prop_oneof![v4, v6].prop_filter("an IPv4 network in its own spelling", |(network, ..)| {
            network.first.to_canonical() == network.first
        })
    }

    /// The address of this number in the network's family.
    fn address(network: Network, number: u128) -> IpAddr {
        match network.first {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).expect("an IPv4 number").into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }

    proptest! {
        #[test]
        fn a_network_is_read_as_it_is_written((network, ..) in a_network()) {
            let text = format!("{}/{}", network.first, network.prefix);
            prop_assert_eq!(text.parse::<Network>(), Ok(network));
            prop_assert_eq!(network.first.to_string().parse::<Network>().map(|single| single.first), Ok(network.first));
        }

        #[test]
        fn a_network_holds_what_lies_between_its_first_and_last_address(
            (network, first, last) in a_network(),
            number in any::<u128>(),
        ) {
            let most = if network.first.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
            let beyond = [first.checked_sub(1), last.checked_add(1).filter(|next| *next <= most)];
            let somewhere = if most == u128::MAX { number } else { number & most };
            let inside = first.checked_add(number % (last - first).max(1)).unwrap_or(last);
            for number in [first, last, inside, somewhere].into_iter().chain(beyond.into_iter().flatten()) {
                let holds = (first..=last).contains(&number);
                prop_assert_eq!(network.contains(address(network, number)), holds, "{:?} {}", network, number);
            }
        }

        #[test]
        fn an_ipv4_network_written_as_ipv6_is_the_same(address in any::<u32>(), prefix in 0..=32_u32) {
            let first = std::net::Ipv4Addr::from(address & !u32::MAX.checked_shr(prefix).unwrap_or(0));
            let mapped = format!("{}/{}", first.to_ipv6_mapped(), prefix + 96);
            prop_assert_eq!(mapped.parse::<Network>(), Ok(Network { first: first.into(), prefix }));
        }

        #[test]
        fn no_text_breaks_the_list_and_each_error_names_it(list in "[0-9a-f.:/, any]{0,40}|.{0,40}") {
            if let Err(error) = list.parse::<AllowedNetworks>() {
                prop_assert!(error.to_string().contains("ALLOWED_NETWORKS"));
            }
        }

        #[test]
        fn no_source_breaks_the_check(source in "[0-9a-f.:/]{0,40}|.{0,40}") {
            let everywhere = networks("0.0.0.0/0,::/0");
            let outcome = everywhere.check(&request(&source.as_str().into(), json!({})));
            prop_assert_eq!(outcome.is_ok(), source.parse::<IpAddr>().is_ok());
        }
    }
}
