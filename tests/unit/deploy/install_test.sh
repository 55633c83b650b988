#!/bin/sh
# install.sh installs what is missing and nothing else, on a system made of stubs: `have` holds the names of
# installed packages, `known` those that apt could install, `calls` what apt-get was asked.
# shellcheck disable=SC2016,SC2034 # text of the stubs; used by install.sh
set -eu

penstock_root=$PWD
stub=$(mktemp -d)
trap 'rm -rf "$stub"' EXIT
cat >"$stub/dpkg-query" <<END
#!/bin/sh
for name; do :; done
grep -qx "\$name" $stub/have && printf installed
END
cat >"$stub/apt-cache" <<END
#!/bin/sh
grep -qx "\$2" $stub/known
END
cat >"$stub/apt-get" <<END
#!/bin/sh
echo "\$*" >>$stub/calls
if [ -e $stub/offline ]; then echo "E: no network"; exit 100; fi
END
printf '#!/bin/sh\necho "${STUB_UID:-0}"\n' >"$stub/id"
printf '#!/bin/sh\necho sudo >>%s/calls\nexec "$@"\n' "$stub" >"$stub/sudo"
chmod +x "$stub"/*
PATH=$stub:$PATH
# shellcheck source=deploy/install.sh
. deploy/install.sh

fail()
{
    echo "install_test: $*" >&2
    cat "$stub/out" "$stub/calls" >&2
    exit 1
}

# start NAME...: a system that has everything but these, and knows everything.
start()
{
    penstock_packages build run examples test | sed 's/?$//' | tr '|' '\n' >"$stub/known"
    cp "$stub/known" "$stub/have"
    for name; do
        grep -vx "$name" "$stub/have" >"$stub/less" || true
        mv "$stub/less" "$stub/have"
    done
    rm -f "$stub/offline"
    : >"$stub/calls"
    : >"$stub/out"
}

# install STATUS SECTION...
install()
{
    wanted=$1
    shift
    status=0
    (penstock_install "$@") >"$stub/out" 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "status $status, not $wanted"
}

has_call()
{
    grep -qF -- "$1" "$stub/calls" || fail "apt-get was not asked: $1"
}

start # all is there: nothing is asked, nothing said
install 0 build run examples test
[ ! -s "$stub/calls" ] || fail "apt-get was asked for nothing"
[ ! -s "$stub/out" ] || fail "something was said"

start cmake libsodium-dev # two are missing
install 0 build run
has_call "-q update"
has_call "--no-install-recommends install cmake libsodium-dev"

start bible-kjv # of a section that is not wanted
install 0 build
[ ! -s "$stub/calls" ] || fail "a package of another section was wanted"

start pkg-config # one of two names is enough
install 0 build
[ ! -s "$stub/calls" ] || fail "pkgconf is as good as pkg-config"

start pkg-config pkgconf # neither is there, and apt knows the second only
grep -vx pkg-config "$stub/known" >"$stub/less"
mv "$stub/less" "$stub/known"
install 0 build
has_call "install pkgconf"

start clang-tidy-14 # wanted only where it is known
install 0 test
has_call "install clang-tidy-14"
start clang-tidy-14
grep -vx clang-tidy-14 "$stub/known" >"$stub/less"
mv "$stub/less" "$stub/known"
install 0 test
[ ! -s "$stub/calls" ] || fail "a package that is unknown here was wanted"

start cmake # no network
touch "$stub/offline"
install 1 build
grep -q "could not install: cmake" "$stub/out" || fail "it does not say what is missing"
grep -q "check the network" "$stub/out" || fail "it does not say what to do"

start cmake # through sudo where we are not root
STUB_UID=1000
export STUB_UID
install 0 build
has_call sudo

start cmake # neither root nor sudo: says so
rm "$stub/sudo"
for tool in sh grep sed awk sort tr cat mktemp env rm; do
    ln -sf "$(command -v $tool)" "$stub/$tool"
done
PATH=$stub
install 1 build
grep -q "neither root nor sudo; ask for these packages: cmake" "$stub/out" || fail "it says something else"
PATH=/usr/bin:/bin
echo "install_test: all passed"
