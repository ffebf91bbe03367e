//! The clouds that Microsoft runs Teams in, and the connectors of each.

use serde::{Deserialize, Serialize};

/// A cloud of Microsoft's. Addresses and names are those of `CloudEnvironment` in Microsoft's own Teams SDK
/// (npm `@microsoft/teams.api` 2.0.16, `auth/cloud-environment`) and of "Configure Bot Framework bots for US government
/// customers" (azure/how-to-deploy-gov-cloud-high).
///
/// The cloud of 21Vianet in China is not among them: no document names the host of its connector, and to a host that
/// none names the bot's token must not go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cloud {
    /// The commercial cloud, and GCC, whose bots live in it.
    #[default]
    Public,
    /// Azure Government with Teams in GCC High.
    UsGov,
    /// Azure Government with Teams of the Department of Defense.
    UsGovDod,
}

impl Cloud {
    /// By its name in the settings.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "public" => Some(Self::Public),
            "usgov" => Some(Self::UsGov),
            "usgovdod" => Some(Self::UsGovDod),
            _ => None,
        }
    }

    /// Who signs for the connector. Tokens of the Bot Framework Emulator name other issuers and are not accepted: they
    /// prove no more than that somebody knows the bot's password.
    pub(super) const fn issuer(self) -> &'static str {
        match self {
            Self::Public => "https://api.botframework.com",
            Self::UsGov | Self::UsGovDod => "https://api.botframework.us",
        }
    }

    /// Where the metadata of the signing keys is.
    pub(super) const fn openid_url(self) -> &'static str {
        match self {
            Self::Public => "https://login.botframework.com/v1/.well-known/openidconfiguration",
            Self::UsGov | Self::UsGovDod => "https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
        }
    }

    /// Who gives access tokens.
    pub(super) const fn login_base(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGov | Self::UsGovDod => "https://login.microsoftonline.us",
        }
    }

    /// The tenant in which a multi-tenant bot gets its access tokens.
    pub(super) const fn login_tenant(self) -> &'static str {
        match self {
            Self::Public => "botframework.com",
            Self::UsGov | Self::UsGovDod => "MicrosoftServices.onmicrosoft.us",
        }
    }

    /// What an access token is for.
    pub(super) const fn scope(self) -> &'static str {
        match self {
            Self::Public => "https://api.botframework.com/.default",
            Self::UsGov | Self::UsGovDod => "https://api.botframework.us/.default",
        }
    }

    /// Whether this is the host of a connector for Teams: `TeamsServiceEndpoints` of npm `@microsoft/agents-hosting`
    /// names one for each cloud, as does "Proactive messages"
    /// (platform/bots/how-to/conversations/send-proactive-messages); older activities name a host of botframework.com
    /// (channel-and-group-conversations).
    fn is_connector(self, host: &str) -> bool {
        match self {
            Self::Public => {
                matches!(host, "smba.trafficmanager.net" | "smba.infra.gcc.teams.microsoft.com")
                    || host.strip_suffix(".botframework.com").is_some_and(|name| !name.is_empty())
            }
            Self::UsGov => host == "smba.infra.gov.teams.microsoft.us",
            Self::UsGovDod => host == "smba.infra.dod.teams.microsoft.us",
        }
    }

    /// The service URL of an activity, without its last slash, if the bot may answer there; `None` else.
    ///
    /// The answer carries the bot's access token, with which anybody could speak as the bot. So it goes by HTTPS to
    /// Microsoft's connectors alone, or only below `api_base` where there is one.
    pub(super) fn service(self, url: &str, api_base: Option<&str>) -> Option<String> {
        let service = url.strip_suffix('/').unwrap_or(url);
        let path = match api_base {
            Some(base) => service.strip_prefix(base)?,
            None => {
                let rest = service.strip_prefix("https://")?;
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                self.is_connector(host).then_some(path)?
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        let formed = path.is_empty() || path.starts_with('/');
        let stays = !path.split('/').any(|part| matches!(part, "." | ".."));
        (url.len() <= MAX_URL_BYTES && formed && stays && path.bytes().all(plain)).then(|| service.to_owned())
    }
}

/// What no service URL comes near.
const MAX_URL_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_microsoft_and_nowhere_else() {
        for url in [
            "https://smba.trafficmanager.net/amer/",
            "https://smba.trafficmanager.net/amer-client-ss.msg/",
            "https://smba.trafficmanager.net/de/0f8fad5b-d9cb-469f-a165-70867728950e/",
            "https://smba.trafficmanager.net",
            "https://smba.infra.gcc.teams.microsoft.com/gcc",
            "https://skype.botframework.com",
        ] {
            assert_eq!(Cloud::Public.service(url, None).as_deref(), Some(url.trim_end_matches('/')), "{url}");
        }
        for url in [
            "",
            "smba.trafficmanager.net",
            "http://smba.trafficmanager.net/amer/",
            "HTTPS://smba.trafficmanager.net/amer/",
            "https://smba.trafficmanager.net.evil.example/",
            "https://smba.trafficmanager.net@evil.example/",
            "https://smba.trafficmanager.net:8443/",
            "https://smba.trafficmanager.net\\@evil.example/",
            "https://smba.trafficmanager.net?.evil.example/",
            "https://smba.trafficmanager.net/amer/?to=evil.example",
            "https://smba.trafficmanager.net/amer/../..",
            "https://smba.trafficmanager.net/am er",
            "https://smba.trafficmanager.net/%2e%2e/",
            "https://evil.trafficmanager.net/amer/",
            "https://evil-botframework.com/",
            "https://.botframework.com/",
            "https://botframework.com.evil.example/",
            "https://evil.example/https://smba.trafficmanager.net/",
            "https://smba.infra.gov.teams.microsoft.us/gcch",
            &format!("https://smba.trafficmanager.net/{}", "a".repeat(600)),
        ] {
            assert_eq!(Cloud::Public.service(url, None), None, "{url}");
        }
        assert!(Cloud::UsGov.service("https://smba.infra.gov.teams.microsoft.us/gcch/", None).is_some());
        assert!(Cloud::UsGov.service("https://smba.trafficmanager.net/amer/", None).is_none());
        assert!(Cloud::UsGovDod.service("https://smba.infra.dod.teams.microsoft.us/teams", None).is_some());
    }

    #[test]
    fn with_a_base_of_its_own_it_goes_below_that_alone() {
        let base = Some("http://127.0.0.1:9000/x");
        assert!(Cloud::Public.service("http://127.0.0.1:9000/x/teams/", base).is_some());
        assert!(Cloud::Public.service("http://127.0.0.1:9000/x", base).is_some());
        for url in [
            "https://smba.trafficmanager.net/amer/",
            "http://127.0.0.1:9000/",
            "http://127.0.0.1:9000/xy/",
            "http://127.0.0.1:9000/x/../",
            "http://127.0.0.1:9000/x@evil.example/",
        ] {
            assert_eq!(Cloud::Public.service(url, base), None, "{url}");
        }
    }
}
