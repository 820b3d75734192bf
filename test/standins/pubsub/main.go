// A Pub/Sub stand-in: Google's in-memory test server on a TCP port, with a small
// HTTP control port for what a test needs to do to the service.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fail answers the next n calls of one method with a gRPC status.
type fail struct {
	left atomic.Int64
	code atomic.Int64
}

func (f *fail) React(any) (bool, any, error) {
	if f.left.Add(-1) >= 0 {
		return true, nil, status.Error(codes.Code(f.code.Load()), "injected")
	}
	f.left.Store(0)
	return false, nil, nil
}

func main() {
	port := flag.Int("port", 0, "gRPC port; 0 picks one")
	control := flag.Int("control", 0, "HTTP control port; 0 picks one")
	flag.Parse()

	faults := map[string]*fail{}
	var opts []pstest.ServerReactorOption
	for _, m := range []string{"Publish", "Acknowledge", "ModifyAckDeadline", "Pull", "CreateTopic", "CreateSubscription", "GetSubscription", "Seek"} {
		faults[m] = &fail{}
		opts = append(opts, pstest.ServerReactorOption{FuncName: m, Reactor: faults[m]})
	}
	// Seek in the library re-creates messages without their content and the server then
	// stops with a nil pointer, so it is refused here.
	faults["Seek"].left.Store(math.MaxInt64)
	faults["Seek"].code.Store(int64(codes.Unimplemented))
	srv := pstest.NewServerWithAddress(net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)), opts...)

	var skew atomic.Int64
	srv.SetTimeNowFunc(func() time.Time { return time.Now().Add(time.Duration(skew.Load())) })

	mux := http.NewServeMux()
	// GET /messages: every message the server has seen, with how often it was delivered and acked.
	mux.HandleFunc("GET /messages", func(w http.ResponseWriter, _ *http.Request) {
		type row struct {
			ID         string            `json:"id"`
			Topic      string            `json:"topic"`
			Attributes map[string]string `json:"attributes"`
			Deliveries int               `json:"deliveries"`
			Acks       int               `json:"acks"`
			Bytes      int               `json:"bytes"`
		}
		rows := []row{}
		for _, m := range srv.Messages() {
			rows = append(rows, row{m.ID, m.Topic, m.Attributes, m.Deliveries, m.Acks, len(m.Data)})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(rows)
	})
	// POST /clock?advance=90s: moves the server's clock, so that ack deadlines lapse at once.
	mux.HandleFunc("POST /clock", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("advance"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, time.Duration(skew.Add(int64(d))))
	})
	// POST /streams?last=2s: streams that open from now on end without an error after this time; 0s: never.
	mux.HandleFunc("POST /streams", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("last"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		srv.SetStreamTimeout(d)
		fmt.Fprintln(w, "ok")
	})
	// POST /fail?method=Publish&code=14&times=3: the next calls answer this gRPC code.
	mux.HandleFunc("POST /fail", func(w http.ResponseWriter, r *http.Request) {
		f, ok := faults[r.URL.Query().Get("method")]
		code, err1 := strconv.Atoi(r.URL.Query().Get("code"))
		times, err2 := strconv.Atoi(r.URL.Query().Get("times"))
		if !ok || err1 != nil || err2 != nil {
			http.Error(w, "method, code and times are needed", http.StatusBadRequest)
			return
		}
		f.code.Store(int64(code))
		f.left.Store(int64(times))
		fmt.Fprintln(w, "ok")
	})
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*control)))
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(ln) }()

	fmt.Printf("ready PUBSUB_EMULATOR_HOST=%s CONTROL=http://%s\n", srv.Addr, ln.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	_ = ln.Close()
	os.Exit(0)
}
