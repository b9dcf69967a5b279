#!/bin/bash
# The conventions that every job image shares. Runs as root inside the image that is being built; the two Dockerfiles
# and airgapped/build.sh all call it, so a job finds the same home, locale and tools whichever image it got.
set -euo pipefail

# Jobs are root, for apt-get, but live where Travis puts them. Programs that ask the account database instead of $HOME
# (ssh, `~travis`, `chown travis:`) must find the same folder, hence root's new home and a second name for uid 0.
mkdir -p /home/travis/build /home/travis/virtualenv /home/travis/.ssh
chmod 700 /home/travis/.ssh
sed -i 's|^root:\(.*\):/root:|root:\1:/home/travis:|' /etc/passwd
grep -q '^travis:' /etc/passwd || echo 'travis:x:0:0:the job:/home/travis:/bin/bash' >>/etc/passwd
grep -q '^travis:' /etc/group || echo 'travis:x:0:' >>/etc/group

# en_US.UTF-8 under the name that Travis promises, with the data of C.UTF-8: the same letters and case rules in 0 bytes
# instead of 16 MB, and sorting that does not change with the C library.
[[ -e /usr/lib/locale/en_US.utf8 ]] || ln -s C.utf8 /usr/lib/locale/en_US.utf8

# A company's own certificates, when the build was given some: only those that the distribution doesn't have already,
# one a file, as update-ca-certificates wants them.
if [[ -s ${1-} ]]; then
  mkdir -p /usr/local/share/ca-certificates
  awk -v prefix=/usr/local/share/ca-certificates/company- '
    /BEGIN CERTIFICATE/ { block = ""; inside = 1 }
    inside              { block = block $0 "\n" }
    /END CERTIFICATE/   { inside = 0
                          if (!(block in known) && NR != FNR) { n++; printf "%s", block >(prefix n ".crt") }
                          known[block] = 1 }
  ' /etc/ssl/certs/ca-certificates.crt "$1"
  update-ca-certificates >/dev/null 2>&1
fi

# ImageMagick 7 calls it `magick`; .travis.yml files say `convert`.
if ! command -v convert >/dev/null && command -v magick >/dev/null; then
  ln -s "$(command -v magick)" /usr/local/bin/convert
fi

# What the tests of every project may rely on, so that a broken image never gets a tag.
[[ $(sudo -nE A=1 bash -c 'echo $A') == 1 ]]
[[ $(LC_ALL=en_US.UTF-8 locale charmap 2>&1) == UTF-8 ]]
[[ $(getent passwd 0) == root:*:/home/travis:* ]]
