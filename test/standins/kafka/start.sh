#!/usr/bin/env bash
# Start a throw-away Apache Kafka (KRaft, no Docker) on loopback for tests.
#
#   start.sh start DIR [PORT] [NODES]   start NODES (default 1) brokers; data, logs and pids live in DIR
#   start.sh stop DIR [NODE]            stop (TERM, then KILL after 20 s; 6 s when all of several) all brokers of DIR, or one node
#   start.sh kill DIR [NODE]            KILL -9 at once: crash tests
#   start.sh pause|resume DIR [NODE]    STOP / CONT: hung-broker tests
#   start.sh restart DIR NODE           start a stopped or killed node again on its old data and port
#   start.sh jars                       only fill the jar cache (for CI cache steps and offline builds)
#
# PORT 0 or absent = a free one. Prints `bootstrap=host:port[,...]` and `pid=N[,...]` on stdout, nothing else.
# Env: KEYTRAIL_KAFKA_HOME  jar cache            (default ~/.cache/keytrail/kafka)
#      KEYTRAIL_KAFKA_HEAP  heap per broker      (default 512m)
#      KEYTRAIL_KAFKA_WAIT  readiness time-out s (default 60)
#      KEYTRAIL_KAFKA_CONF  extra server.properties lines (newline separated; the last one wins)
#      KEYTRAIL_KAFKA_LISTENERS  more listeners of a single node, such as SSL://127.0.0.1:9093
#      KEYTRAIL_KAFKA_FORMAT  more arguments of the formatting, such as --add-scram SCRAM-SHA-256=[...]
#      KEYTRAIL_KAFKA_OPTS  more arguments of java
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The cache key covers the whole pom, so a changed dependency list never reuses old jars.
VERSION=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$HERE/pom.xml")
JARS=${KEYTRAIL_KAFKA_HOME:-${HOME:-/tmp}/.cache/keytrail/kafka}/$VERSION-$(cksum <"$HERE/pom.xml" | cut -d' ' -f1)
HEAP=${KEYTRAIL_KAFKA_HEAP:-512m}
WAIT=${KEYTRAIL_KAFKA_WAIT:-60}

die() { echo "start.sh: $*" >&2; exit 1; }

jars() {
  [ -f "$JARS/.complete" ] && return
  command -v mvn >/dev/null || die "no jars in $JARS and no mvn to fetch them"
  mkdir -p "$(dirname "$JARS")"
  local tmp; tmp=$(mktemp -d "$JARS.tmp.XXXXXX")
  mvn -q -B -f "$HERE/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$tmp" >&2 || { rm -rf "$tmp"; die "mvn could not fetch Kafka $VERSION"; }
  touch "$tmp/.complete"
  # First finished copy wins, so parallel test runs may share the cache.
  mv -T "$tmp" "$JARS" 2>/dev/null || rm -rf "$tmp"
  [ -f "$JARS/.complete" ] || die "cannot write the jar cache $JARS"
}

java_ok() {
  command -v java >/dev/null || die "no java in PATH (17 or newer is needed)"
  local v; v=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ "${v:-0}" -ge 17 ] || die "java ${v:-?} is too old (17 or newer is needed)"
}

# Ask the kernel for N distinct free ports. Held open together, then released.
free_ports() {
  if command -v node >/dev/null; then
    node -e 'const n=require("net"),N=+process.argv[1],s=[];for(let i=0;i<N;i++){const x=n.createServer();s.push(x);
      x.listen(0,"127.0.0.1",()=>{if(s.every(y=>y.listening)){console.log(s.map(y=>y.address().port).join(" "));s.forEach(y=>y.close())}})}' "$1"
  else
    python3 -c 'import socket,sys
s=[socket.socket() for _ in range(int(sys.argv[1]))]
[x.bind(("127.0.0.1",0)) for x in s]
print(*[x.getsockname()[1] for x in s])' "$1"
  fi
}
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
alive() { [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }
pid_of() { cat "$1/node$2/pid" 2>/dev/null || true; }
# A recycled pid must never be signalled: the command line has to name this node's own config file.
mine() { alive "${1:-}" && tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2/server.properties"; }
nodes() { ls -d "$1"/node* 2>/dev/null | sed 's:.*/node::' | sort -n; }

launch() { # DIR NODE
  local d="$1/node$2"
  mkdir -p "$d"
  setsid java "-Xms$HEAP" "-Xmx$HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=${KEYTRAIL_KAFKA_TIER:-4} \
    -XX:MaxDirectMemorySize=256m -Djava.awt.headless=true -Djava.net.preferIPv4Stack=true \
    -Dlog4j2.configurationFile="$1/log4j2.properties" -Dlog4j2.shutdownHookEnabled=false \
    ${KEYTRAIL_KAFKA_OPTS:-} -Dkeytrail.log="$d/server.log" -cp "$JARS/*" kafka.Kafka "$d/server.properties" \
    >"$d/console.log" 2>&1 </dev/null &
  echo $! >"$d/pid"
  disown
}

# Ready = the broker logged RUNNING and its client port answers.
wait_ready() { # DIR NODE PORT
  local d="$1/node$2" pid t0=$SECONDS; pid=$(pid_of "$1" "$2")
  until grep -qs 'Transition from STARTING to STARTED\|Kafka Server started' "$d/server.log" && open_port "$3"; do
    alive "$pid" || { tail -n 25 "$d/console.log" >&2 || true; grep -m 3 -A 3 ERROR "$d/server.log" >&2 || true; die "node $2 died while starting"; }
    [ $((SECONDS - t0)) -lt "$WAIT" ] || { tail -n 25 "$d/server.log" >&2; die "node $2 not ready after ${WAIT}s"; }
    sleep 0.1
  done
}

config() { # DIR NODE NODES CLIENTPORT CTRLPORT VOTERS
  local rf=$(( $3 < 3 ? 1 : 3 )) isr=$(( $3 < 3 ? 1 : 2 ))
  cat <<EOF
process.roles=broker,controller
node.id=$2
controller.quorum.voters=$6
listeners=PLAINTEXT://127.0.0.1:$4,CONTROLLER://127.0.0.1:$5${KEYTRAIL_KAFKA_LISTENERS:+,$KEYTRAIL_KAFKA_LISTENERS}
advertised.listeners=PLAINTEXT://127.0.0.1:$4${KEYTRAIL_KAFKA_LISTENERS:+,$KEYTRAIL_KAFKA_LISTENERS}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$1/node$2/data
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=$rf
min.insync.replicas=$isr
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
log.segment.bytes=67108864
log.retention.hours=-1
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
controlled.shutdown.enable=true
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
${KEYTRAIL_KAFKA_CONF:-}
EOF
}

start() {
  local dir=$1 want=${2:-0} n=${3:-1} i ports cport voters="" cid boots="" pids=""
  java_ok; jars
  mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
  [ -z "$(nodes "$dir")" ] || die "$dir already holds a broker (use restart, or another DIR)"
  read -r -a ports <<<"$(free_ports $((2 * n)))"
  if [ "$want" != 0 ]; then for ((i = 0; i < n; i++)); do
    open_port $((want + i)) && die "port $((want + i)) is taken"; ports[i]=$((want + i)); done; fi
  for ((i = 0; i < n; i++)); do voters+="${voters:+,}$((i + 1))@127.0.0.1:${ports[n + i]}"; done
  cat >"$dir/log4j2.properties" <<'EOF'
appender.f.type=File
appender.f.name=f
appender.f.fileName=${sys:keytrail.log}
appender.f.layout.type=PatternLayout
appender.f.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=INFO
rootLogger.appenderRef.f.ref=f
EOF
  # A KRaft cluster id is 16 random bytes in unpadded base64url; a leading '-' would read as an option.
  cid=K$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')A
  for ((i = 1; i <= n; i++)); do
    mkdir -p "$dir/node$i"
    config "$dir" "$i" "$n" "${ports[i - 1]}" "${ports[n + i - 1]}" "$voters" >"$dir/node$i/server.properties"
    echo "${ports[i - 1]}" >"$dir/node$i/port"
    java -cp "$JARS/*" -XX:TieredStopAtLevel=1 -Dkeytrail.log="$dir/node$i/format.log" \
      -Dlog4j2.configurationFile="$dir/log4j2.properties" kafka.tools.StorageTool format \
      --cluster-id "$cid" --config "$dir/node$i/server.properties" ${KEYTRAIL_KAFKA_FORMAT:-} >"$dir/node$i/format.out" 2>&1 \
      || { cat "$dir/node$i/format.out" >&2; die "format of node $i failed"; }
  done
  trap 'halt "$dir" KILL "" ; exit 1' ERR INT TERM
  for ((i = 1; i <= n; i++)); do launch "$dir" "$i"; done
  for ((i = 1; i <= n; i++)); do ( wait_ready "$dir" "$i" "${ports[i - 1]}" ) || { halt "$dir" KILL ""; exit 1; }; done
  trap - ERR INT TERM
  report "$dir"
}

report() {
  local i b="" p=""
  for i in $(nodes "$1"); do b+="${b:+,}127.0.0.1:$(cat "$1/node$i/port")"; p+="${p:+,}$(pid_of "$1" "$i")"; done
  echo "bootstrap=$b"; echo "pid=$p"
}

halt() { # DIR SIGNAL NODE
  local i pid t0 limit=20
  # Several nodes going down together lose the quorum and wait for it: do not wait long for them.
  [ -n "${3:-}" ] || [ "$(nodes "$1" | wc -l)" = 1 ] || limit=6
  for i in ${3:-$(nodes "$1")}; do pid=$(pid_of "$1" "$i")
    mine "$pid" "$1/node$i" && kill "-$2" "$pid" 2>/dev/null || true; done
  [ "$2" = STOP ] || [ "$2" = CONT ] && return 0
  t0=$SECONDS
  for i in ${3:-$(nodes "$1")}; do pid=$(pid_of "$1" "$i")
    while mine "$pid" "$1/node$i"; do
      [ $((SECONDS - t0)) -lt $limit ] || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.1
    done; done
}

[ $# -ge 1 ] || { sed -n '2,16p' "$0"; exit 2; }
cmd=$1; shift
case $cmd in
  jars) jars; echo "jars=$JARS" ;;
  start) start "$@" ;;
  stop|kill|pause|resume|restart)
    [ -d "${1:-}" ] || die "no such directory: ${1:-}"
    dir=$(cd "$1" && pwd)
    case $cmd in
      stop) halt "$dir" TERM "${2:-}" ;; kill) halt "$dir" KILL "${2:-}" ;;
      pause) halt "$dir" STOP "${2:-}" ;; resume) halt "$dir" CONT "${2:-}" ;;
      restart) i=${2:-1}; [ -f "$dir/node$i/server.properties" ] || die "no node $i in $dir"
        mine "$(pid_of "$dir" "$i")" "$dir/node$i" && die "node $i is still running"
        mv -f "$dir/node$i/server.log" "$dir/node$i/server.log.$(date +%s%N)" 2>/dev/null || true
        jars; launch "$dir" "$i"; wait_ready "$dir" "$i" "$(cat "$dir/node$i/port")"; report "$dir" ;;
    esac ;;
  *) start "$cmd" "$@" ;; # start.sh DIR [PORT] [NODES]
esac
