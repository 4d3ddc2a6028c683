//! `/etc/hosts`, ahead of DNS: the resolver would ask for the IPv6 address of a name whose IPv4 address stands in the file, and wait for it.
//!
//! Docker writes `host.docker.internal` there, which is where Pipelines' proxy and every service of the step are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

const LARGEST: u64 = 64 * 1024;

type Hosts = BTreeMap<String, Vec<SocketAddr>>;

/// Return the names of the file and their addresses (port 0: the URL's own is used). Empty where there is none. Read once.
pub(super) fn entries() -> &'static Hosts {
    static HOSTS: LazyLock<Hosts> = LazyLock::new(read);
    &HOSTS
}

fn read() -> Hosts {
    let mut text = String::new();
    match File::open("/etc/hosts").and_then(|file| file.take(LARGEST).read_to_string(&mut text)) {
        Ok(_) => parse(&text),
        Err(_) => BTreeMap::new(),
    }
}

fn parse(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            hosts.entry(name.to_ascii_lowercase()).or_default().push(SocketAddr::new(address, 0));
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_as_the_system_reads_it() {
        let hosts =
            parse("127.0.0.1 localhost # comment\n\n::1 localhost ip6\n172.17.0.1\tHost.Docker.Internal\nnonsense x\n");
        assert_eq!(hosts.keys().collect::<Vec<_>>(), ["host.docker.internal", "ip6", "localhost"]);
        assert_eq!(hosts["localhost"].len(), 2);
        assert_eq!(hosts["host.docker.internal"], ["172.17.0.1:0".parse().unwrap()]);
    }
}
