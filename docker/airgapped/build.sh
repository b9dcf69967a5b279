#!/bin/bash
# Builds the job images from the distribution's packages alone: for servers that reach a Debian mirror (or a local copy
# of one) but no image registry. A second call returns at once while the inputs of the image are unchanged.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: docker/airgapped/build.sh [--python VERSION] [--torch VERSION] [--wheels DIR] [--minimal]
           [--ca-certificates FILE] [--mirror URI] [--force] [IMAGE_TAG]

  (default)               Python, Debian's PyTorch, git, ImageMagick   -> trainyard/cpu:<python version>
  --python VERSION        a version that a release of Debian has (3.11); `pythons` lists them
  --torch VERSION         PyTorch of this version (2, 2.8) from wheels -> trainyard/cpu:<python version>-torch<version>
  --wheels DIR            take the wheels from this folder alone; default: PyTorch's index for CPUs, otherwise PyPI
  --minimal               bash, git, curl: for `language: shell`       -> trainyard/minimal:bookworm
  --ca-certificates FILE  PEM file with the certificates of a company's proxy or mirrors; pip trusts them too;
                          default: $SSL_CERT_FILE, for who needs it out here needs it in a job, too
  --mirror URI            take packages from there; default: where this machine's apt takes them from
  --force                 build again, for the distribution's security updates
USAGE
}

variant=cpu python=3.11 torch='' wheels='' mirror='' certificates=${SSL_CERT_FILE:-} force='' tag=''
while (($#)); do
  case $1 in
    --minimal) variant=minimal ;;
    --force) force=yes ;;
    --ca-certificates | --python | --torch | --wheels | --mirror)
      [[ -n ${2-} ]] || { usage >&2; exit 2; }
      case $1 in
        --ca-certificates) certificates=$2 ;;
        --python) python=$2 ;;
        --torch) torch=$2 ;;
        --wheels) wheels=$2 ;;
        --mirror) mirror=$2 ;;
      esac
      shift ;;
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 2 ;;
    *) tag=$1 ;;
  esac
  shift
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
docker=$(dirname "$here")
for program in docker mmdebstrap; do
  command -v "$program" >/dev/null || { echo "$program is missing: run scripts/setup image" >&2; exit 1; }
done
if [[ -n $certificates ]] && ! grep -q 'BEGIN CERTIFICATE' "$certificates"; then
  echo "$certificates holds no PEM certificate" >&2
  exit 1
fi
if [[ -n $torch && ! $torch =~ ^[0-9]+(\.[0-9]+)*$ ]]; then
  echo "--torch $torch: give a version such as 2 or 2.8" >&2
  exit 2
fi
if [[ -n $wheels ]]; then
  [[ -n $torch ]] || { echo '--wheels DIR goes with --torch VERSION' >&2; exit 2; }
  compgen -G "$wheels/torch-*.whl" >/dev/null || { echo "$wheels has no wheel of torch" >&2; exit 1; }
fi
suite=$(awk -v python="$python" '$1 == python { print $2 }' "$here/pythons")
if [[ -z $suite ]]; then
  echo "--python $python: no release of Debian has it; there are $(cut -d ' ' -f 1 "$here/pythons" | paste -sd ' ')" >&2
  exit 2
fi

packages=(bash ca-certificates curl git openssh-client procps xz-utils)
if [[ $variant == cpu ]]; then
  packages+=(imagemagick python3-venv)
  if [[ -z $torch ]]; then
    # libopenblas0-pthread: Debian's default BLAS trains 25 times slower.
    packages+=(libopenblas0-pthread python3-numpy python3-pil python3-pip python3-torch python3-torchaudio
      python3-torchvision python3-yaml)
    # PyTorch asks for it where Python's virtualenvs no longer bring it.
    [[ $suite == bookworm ]] || packages+=(python3-setuptools)
  fi
fi
if [[ -z $tag ]]; then
  [[ $variant == minimal ]] && tag=trainyard/minimal:$suite || tag=trainyard/cpu:$python${torch:+-torch$torch}
fi

# Everything that decides what the image contains, except for the state of the mirror (hence --force).
inputs=$(
  {
    echo "$variant $suite $mirror $torch"
    [[ -z $wheels ]] || find "$wheels" -name '*.whl' -printf '%f %s\n' | sort
    find "$docker/rootfs" "$docker/provision.sh" "$here" -type f -printf '%P %m\n' -exec sha256sum {} + | sed "s|$docker||" | sort
    [[ -z $certificates ]] || sha256sum <"$certificates"
  } | sha256sum | cut -c1-16
)
if [[ -z $force && $(docker image inspect --format '{{index .Config.Labels "trainyard.inputs"}}' "$tag" 2>/dev/null) == "$inputs" ]]; then
  echo "$tag is up to date"
  exit
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/trainyard-image.XXXXXX")
log=${TMPDIR:-/var/tmp}/trainyard-image-${tag//[:\/]/-}.log
finish() {
  local status=$?
  rm -rf "$work"
  ((status == 0)) || echo "building $tag failed; the full log is $log" >&2
}
trap finish EXIT
trap 'exit 130' INT TERM
stage() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
stage "building $tag from Debian $suite, ${#packages[@]} packages and what they need"

# What goes into the image besides packages; its owner and rights come along.
mkdir -p "$work/stage/opt/trainyard"
chmod 755 "$work" "$work/stage"
cp -a "$docker/rootfs/." "$work/stage/"
cp "$docker/provision.sh" "$here/python.sh" "$here/wheels.sh" "$work/stage/opt/trainyard/"
if [[ -n $wheels ]]; then
  mkdir "$work/stage/opt/trainyard/wheels"
  cp "$wheels"/*.whl "$work/stage/opt/trainyard/wheels/"
fi
[[ -z $certificates ]] || cp "$certificates" "$work/stage/opt/trainyard/certificates.pem"
cat >"$work/customize" <<'HOOK'
#!/bin/sh
set -eu
cp -a --no-preserve=ownership "${0%/*}/stage/." "$1/"
echo "I: provisioning"
chroot "$1" bash /opt/trainyard/provision.sh /opt/trainyard/certificates.pem
if [ "$PYTHON" ]; then
  echo "I: python"
  # Variables of this machine's pip would name files that the image doesn't have.
  env -u REQUESTS_CA_BUNDLE -u SSL_CERT_FILE -u SSL_CERT_DIR -u PIP_FIND_LINKS HOME=/home/travis \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt chroot "$1" bash "/opt/trainyard/$SETUP" "$PYTHON" "$TORCH"
fi
rm -rf "$1/opt/trainyard"
HOOK
chmod 755 "$work/customize"

options=(--variant=minbase "--include=$(IFS=,; echo "${packages[*]}")" "--customize-hook=$work/customize")
# Nobody reads manuals in a job container. Licences stay, for whoever passes the image on.
excluded=('/usr/share/man/*' '/usr/share/info/*' '/usr/share/doc/*' '/usr/share/locale/*' '/usr/share/lintian/*'
  # What git and perl bring along and no job calls: servers, C headers, East Asian encodings.
  /usr/lib/git-core/git-{daemon,http-backend,http-push,imap-send,shell} /usr/bin/{git-shell,scalar}
  '/usr/lib/*/perl/*/CORE/*' /usr/lib/\*/perl/\*/auto/{Encode/{CN,JP,KR,TW},Unicode}/\* '/usr/share/perl/*/Unicode/Collate/*'
  # Half a gigabyte comes along with torchaudio's video libraries and PyTorch itself, none of it ever loaded:
  # graphics and video drivers, maps, icons, C++ tests.
  '/usr/lib/*/dri/*' '/usr/lib/*/libmfxhw*' '/usr/lib/*/mfx/*' '/usr/share/proj/*' '/usr/share/icons/*'
  '/usr/lib/libtorch-test/*')
# Later releases of PyTorch load these.
[[ $suite != bookworm ]] || excluded+=('/usr/lib/*/libLLVM*' '/usr/lib/*/libz3*')
for path in "${excluded[@]}"; do
  options+=("--dpkgopt=path-exclude=$path")
done
options+=('--dpkgopt=path-include=/usr/share/doc/*/copyright' '--aptopt=Apt::Install-Recommends "false"')
# The way this machine's apt reaches its mirror is the way a job's apt-get reaches it.
while IFS= read -r line; do
  options+=("--aptopt=$line")
done < <(apt-config dump --format '%F "%v";%n' Acquire 2>/dev/null | grep -E '::Proxy|::Check-' | grep -v '""' || true)

sources=()
if [[ -n $mirror ]]; then
  sources=("deb $mirror $suite main")
else
  # None is fine too (this machine is not a Debian of that release): mmdebstrap then knows Debian's own mirrors.
  while IFS= read -r line; do
    sources+=("$line")
  done < <(apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT) \$(ORIGIN)" 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$5 == "Debian" && index($3, suite) == 1 { print $1, $2, $3, $4 }' | sort -u)
fi

: >"$log"
PYTHON=$([[ $variant == minimal ]] || echo "$python") TORCH=$torch SETUP=$([[ $torch ]] && echo wheels.sh || echo python.sh) \
  mmdebstrap "${options[@]}" "$suite" "$work/image.tar" "${sources[@]}" 2>&1 | tee "$log" | while IFS= read -r line; do
  case $line in
    'I: running apt-get update'*) stage 'reading the package lists' ;;
    'I: downloading packages'*) stage 'downloading the base system' ;;
    'I: extracting archives'*) stage 'unpacking the base system' ;;
    'I: installing remaining'*) stage 'downloading and installing the packages' ;;
    'I: provisioning'*) stage 'home, locale, certificates' ;;
    'I: python'*) stage 'the virtualenv' ;;
    'I: creating tarball'*) stage 'packing' ;;
    'N: '*) stage "note: ${line#N: }" ;;
  esac
done

stage 'importing into Docker'
changes=(
  "ENV HOME=/home/travis" "ENV USER=travis" "ENV SHELL=/bin/bash" "ENV TZ=UTC"
  "ENV LANG=en_US.UTF-8" "ENV LC_ALL=en_US.UTF-8"
  "ENV RAILS_ENV=test" "ENV RACK_ENV=test" "ENV MERB_ENV=test"
  "WORKDIR /home/travis/build" 'CMD ["/bin/bash"]' "LABEL trainyard.inputs=$inputs"
)
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [[ $variant == cpu ]]; then
  # `python` and `pip` work before a virtualenv is activated, too.
  path=/home/travis/virtualenv/python$python/bin:$path
fi
changes+=("ENV PATH=$path")
# pip and requests carry a list of authorities of their own; all three shall trust what the system trusts.
for variable in PIP_CERT REQUESTS_CA_BUNDLE SSL_CERT_FILE; do
  changes+=("ENV $variable=/etc/ssl/certs/ca-certificates.crt")
done
docker import "${changes[@]/#/--change=}" "$work/image.tar" "$tag" >>"$log"
stage "$tag is ready, $(docker image inspect --format '{{.Size}}' "$tag" | awk '{ printf "%d MB", $1 / 1e6 }')"
