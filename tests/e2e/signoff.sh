#!/usr/bin/env bash
# A gate's owner has a key: only an answer that is signed by it, on this question and this ledger, counts.
# A wrong key, an altered text, a replayed answer, one for another gate and a second verdict are refused and
# recorded, and change nothing; ssh-keygen takes the same files; verify finds a signature that was tampered with.
command -v ssh-keygen >/dev/null || { echo "skipped: ssh-keygen is not installed (openssh-client)"; exit 77; }
. "$(dirname "$0")/lib.sh"

ssh-keygen -q -t ed25519 -N '' -C ada -f "$work/ada" || die "no key"
ssh-keygen -q -t ed25519 -N '' -C eve -f "$work/eve" || die "no key"
write_campaign
cat >>"$campaign" <<END
  owner: ada
gates:
  - name: ask
    at: {steps: 10}
    rule: sign-off
    owner: ada
    releases: 40%
END
sed -i "s|^  - {name: ada.*|  - {name: ada, role: research, keys: [\"$(cat "$work/ada.pub")\"]}|" "$campaign"
write_runs
add_run one --steps 30
add_run two --steps 30
decide() { "$penstock" decide "$state" "$@" >"$out.decide" 2>&1; }
refused() {
    says=$1
    shift
    decide "$@" && die "decide $* was taken"
    expect_text "$out.decide" "$says"
}
inbox=$state/inbox
# sign KEY FILE: FILE.sig, as an owner of KEY would make it by hand.
sign() { rm -f "$2.sig"; ssh-keygen -q -Y sign -n penstock -f "$1" "$2" || die "ssh-keygen cannot sign"; }
# rejected NAME SAYS: the last run put NAME aside, for this reason, and said so in the ledger.
rejected() {
    [ -f "$inbox/refused/$1.decision.reason" ] || die "$1 was not refused"
    grep -q "$2" "$inbox/refused/$1.decision.reason" || die "$1: $(cat "$inbox/refused/$1.decision.reason")"
    "$penstock" export "$state" --format json >"$out.json" || die "export"
    grep -q "a decision was refused: .*$1" "$out.json" || die "the refusal of $1 is not recorded"
}

run_to 4
expect_state one held
expect_state two held
expect_text "$out" "\-\-key"
refused "answers signed; give --key" one/ask go --as ada --reason "trust me"
refused "not a key of ada" one/ask go --as ada --reason "trust me" --key "$work/eve"
[ -z "$(ls "$inbox"/*.decision "$inbox"/.sign* 2>/dev/null)" ] || die "something was left in the inbox"
"$penstock" decide "$state" --list --key "$work/ada" >"$out.list" || die "--list"
expect_text "$out.list" "one/ask: ada is asked"
expect_text "$out.list" "held-out loss"
"$penstock" decide "$state" --list --key "$work/eve" >"$out.list" 2>&1 && die "eve is no owner"

decide one/ask go --as ada --reason "loss still falls" --key "$work/ada" || die "decide: $(cat "$out.decide")"
good=$(ls "$inbox"/*.decision)
echo "ada $(cat "$work/ada.pub")" >"$work/allowed"
ssh-keygen -q -Y verify -f "$work/allowed" -I ada -n penstock -s "$good.sig" <"$good" || die "ssh-keygen does not take it"
mv "$good" "$work/good" && mv "$good.sig" "$work/good.sig"

# What eve can do with it, and with a key of her own.
cp "$work/good" "$inbox/10-unsigned.decision"
cp "$work/good" "$inbox/11-eve.decision" && sign "$work/eve" "$inbox/11-eve.decision"
sed 's/^verdict: go/verdict: no-go/' "$work/good" >"$inbox/12-altered.decision"
cp "$work/good.sig" "$inbox/12-altered.decision.sig"
sed 's/^run: one/run: two/' "$work/good" >"$inbox/13-other.decision" && sign "$work/ada" "$inbox/13-other.decision"
sed 's/^campaign: ..../campaign: 0000/' "$work/good" >"$inbox/14-campaign.decision" && sign "$work/ada" "$inbox/14-campaign.decision"
sed 's/^head-chain: ..../head-chain: 0000/' "$work/good" >"$inbox/15-ledger.decision" && sign "$work/ada" "$inbox/15-ledger.decision"
sed 's/^head-seq: .*/head-seq: 99999999/' "$work/good" >"$inbox/16-future.decision" && sign "$work/ada" "$inbox/16-future.decision"
sed 's/^evidence: ..../evidence: 0000/' "$work/good" >"$inbox/17-evidence.decision" && sign "$work/ada" "$inbox/17-evidence.decision"
cp "$work/good" "$inbox/18-space.decision" && ssh-keygen -q -Y sign -n file -f "$work/ada" "$inbox/18-space.decision"
run_to 4
expect_state one held
expect_state two held
rejected 10-unsigned "not signed"
rejected 11-eve "not a key of ada"
rejected 12-altered "was altered"
rejected 13-other "something else"
rejected 14-campaign "another campaign"
rejected 15-ledger "another ledger"
rejected 16-future "does not have"
rejected 17-evidence "other evidence"
rejected 18-space "not made for"
expect_verified

# The true one counts, once.
cp "$work/good.sig" "$inbox/20-good.decision.sig" && cp "$work/good" "$inbox/20-good.decision"
run_to 4
expect_state one finished
expect_state two held
[ -f "$inbox/done/20-good.decision.sig" ] || die "the signature was not kept"
cp "$work/good.sig" "$inbox/20-good.decision.sig" && cp "$work/good" "$inbox/20-good.decision"
cp "$work/good.sig" "$inbox/21-again.decision.sig" && cp "$work/good" "$inbox/21-again.decision"
sed 's/^verdict: go/verdict: no-go/' "$work/good" >"$inbox/22-second.decision" && sign "$work/ada" "$inbox/22-second.decision"
run_to 4
rejected 20-good "has its verdict already"
rejected 21-again "has its verdict already"
rejected 22-second "second one is refused"
expect_state one finished
"$penstock" verify "$state" >"$out.verify" || die "verify"
expect_text "$out.verify" "signatures ok: 1"

decide two/ask no-go --as ada --reason "enough" --key "$work/ada" || die "decide: $(cat "$out.decide")"
run_to 0
expect_state two stopped
"$penstock" verify "$state" >"$out.verify" || die "verify"
expect_text "$out.verify" "signatures ok: 2"

# A ledger whose frames all hold, and whose sign-off does not.
python3 "$here/tamper.py" "$state/ledger.pnk" || die "tamper"
rm -f "$state/ledger.lock"
"$penstock" verify "$state" >"$out.verify" 2>&1 && die "a tampered signature was believed"
expect_text "$out.verify" "was altered"
