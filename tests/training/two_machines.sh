#!/bin/sh
# `embedctl train` on two machines: two network namespaces joined by a cable. By hand, as root, from the repository:
#   tests/training/two_machines.sh OUT
# Both write OUT-0 and OUT-1; machine 0 exports the model. Exits 77 where network namespaces are not permitted.
set -u
out=${1:?usage: two_machines.sh OUT}
ip netns add ectl0 2>/dev/null && ip netns add ectl1 || exit 77
trap 'ip netns del ectl0; ip netns del ectl1' EXIT
ip link add veth0 netns ectl0 type veth peer name veth1 netns ectl1 || exit 77
for number in 0 1; do
    ip -n ectl$number addr add 10.77.0.$((number + 1))/24 dev veth$number
    ip -n ectl$number link set veth$number up
    ip -n ectl$number link set lo up
done
run() {
    GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME-veth$1} ip netns exec ectl$1 python -m embedctl train --max-steps 4 \
        --num-machines 2 --machine-rank $1 --num-processes 2 --cpu --strategy ddp \
        --main-process-ip 10.77.0.1 --main-process-port 29611 -o "$out-$1" --overwrite
}
run 1 & other=$!
run 0
first=$?
wait $other
second=$?
echo "machine 0 ended with $first, machine 1 with $second"
[ $first = 0 ] && [ $second = 0 ]
