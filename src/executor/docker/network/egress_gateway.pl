# Sets the routing rules of a job's network, then sleeps to keep the network. Run as `perl -e THIS ALLOWED BLOCKED
# [ONLY]`, with lists of networks that are separated by spaces. Without ONLY, all that is not blocked is open. The script
# uses netlink directly, so that an image needs no
# `ip`: perl is in every Debian.
use strict;
use warnings;

# Numbers of linux/netlink.h, linux/rtnetlink.h and linux/fib_rules.h.
my ($IPV4, $IPV6, $DELROUTE, $NEWRULE) = (2, 10, 25, 32);
my ($TO_TABLE, $PROHIBIT, $MAIN, $LOCAL) = (1, 8, 254, 255);
my ($DST, $PRIORITY, $PROTOCOL, $PORTS) = (1, 6, 22, 24);
my %PROTOCOLS = (tcp => 6, udp => 17, dccp => 33, sctp => 132, udplite => 136);

socket(my $kernel, 16, 3, 0) or die "no netlink socket: $!\n";
my $sequence = 0;

sub ask {
    my ($what, $type, $body) = @_;
    # A request that creates what does not exist, and asks for an answer.
    my $sent = pack('L S S L L', 16 + length $body, $type, 0x405, ++$sequence, 0) . $body;
    defined send($kernel, $sent, 0) or die "$what: $!\n";
    defined recv($kernel, my $answer, 65536, 0) or die "$what: $!\n";
    my (undef, $kind, undef, undef, undef, $error) = unpack('L S S L L l', $answer);
    $kind == 2 or die "$what: an answer of kind $kind\n";
    $! = -$error;
    die "$what: $!\n" if $error;
}

sub attribute {
    my ($kind, $value) = @_;
    return pack('S S a*', 4 + length $value, $kind, $value) . "\0" x (-length($value) % 4);
}

sub network {
    my ($text) = @_;
    my ($address, $length) = $text =~ m{^([0-9.]+)(?:/([0-9]+))?$} or die "$text is not a network\n";
    return (pack('C4', split /\./, $address), $length // 32);
}

# The kernel takes the first rule that fits, in the order of priority.
sub rule {
    my ($priority, $action, $to, %only) = @_;
    my ($address, $length) = network($to);
    my $body = pack('C8 L', $IPV4, $length, 0, 0, $action == $TO_TABLE ? $MAIN : 0, 0, 0, $action, 0);
    $body .= attribute($PRIORITY, pack 'L', $priority);
    $body .= attribute($DST, $address) if $length;
    $body .= attribute($PROTOCOL, pack 'C', $PROTOCOLS{$only{protocol}}) if $only{protocol};
    $body .= attribute($PORTS, pack 'S S', $only{port}, $only{port}) if $only{port};
    ask("a rule for $to", $NEWRULE, $body);
}

sub lines {
    my ($path) = @_;
    open(my $file, '<', $path) or die "$path: $!\n";
    return <$file>;
}

my ($allowed, $blocked, $only) = map { [split / /] } @ARGV;

# The name servers that the engine chose are open only at their port: in some clouds their address has other services,
# too.
for my $line (lines('/etc/resolv.conf')) {
    my ($server) = $line =~ /^nameserver\s+([0-9.]+)\s*$/ or next;
    rule(100, $TO_TABLE, $server, protocol => $_, port => 53) for qw(tcp udp);
}
rule(200, $TO_TABLE, $_) for @$allowed;
# The host answers at the address of the gateway. It has to learn the hardware address of this container, so no rule may
# keep the two from exchanging ARP messages: the rules for this address name only the protocols of programs.
for my $line (lines('/proc/net/route')) {
    my (undef, $to, $gateway) = split ' ', $line;
    next unless $to eq '00000000';
    my $host = join '.', reverse unpack 'C4', pack 'H8', $gateway;
    rule(300, $PROHIBIT, $host, protocol => $_) for sort keys %PROTOCOLS;
    rule(400, $TO_TABLE, $host);
}
rule(500, $PROHIBIT, $_) for @$blocked;
if ($only) {
    rule(600, $TO_TABLE, $_) for @$only;
    rule(700, $PROHIBIT, '0.0.0.0/0');
}
# A broadcast reaches the host as well, and its routes come before any rule.
my $address = '';
for my $line (lines('/proc/net/fib_trie')) {
    $address = $1 if $line =~ /-- ([0-9.]+)$/;
    next unless $line =~ m{/32 \S+ BROADCAST} && $address;
    my ($bytes) = network($address);
    # The file lists each route twice.
    eval { ask("the broadcast route of $address", $DELROUTE, pack('C8 L', $IPV4, 32, 0, 0, $LOCAL, 0, 255, 3, 0) . attribute($DST, $bytes)) };
    die $@ if $@ && $! != 3;
}
# IPv6 is closed, since nothing shows which of its addresses are the host's.
if (-e '/proc/net/if_inet6') {
    ask('a rule for IPv6', $NEWRULE, pack('C8 L', $IPV6, 0, 0, 0, 0, 0, 0, $PROHIBIT, 0) . attribute($PRIORITY, pack 'L', 500));
}
$| = 1;
print "ready\n";
sleep while 1;
