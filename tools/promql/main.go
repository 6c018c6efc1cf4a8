// Command promrules checks Prometheus rules and plays them over made-up series.
//
// It reads one JSON request from standard input and writes one JSON answer to standard output.  Upstream's promtool does
// the same and more, and takes ten times as long to build, because it carries every service discovery.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// Case is a set of series in promtool's notation ("0+1x60") and the moments at which to say what fires.
type Case struct {
	Name            string            `json:"name"`
	IntervalSeconds int               `json:"interval_seconds"`
	Series          map[string]string `json:"series"`
	AtSeconds       []int             `json:"at_seconds"`
}

// Request holds rule groups (YAML or JSON text), queries that are only parsed, and cases.
type Request struct {
	Rules   string            `json:"rules"`
	Queries map[string]string `json:"queries"`
	Cases   []Case            `json:"cases"`
}

// Answer says what is wrong with the rules, which series each expression names, and per case what fires when.
type Answer struct {
	Errors  []string                               `json:"errors"`
	Metrics map[string][]string                    `json:"metrics"`
	Cases   map[string]map[int][]map[string]string `json:"cases"`
}

func main() {
	var request Request
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		fmt.Fprintln(os.Stderr, "promrules: standard input is no request:", err)
		os.Exit(2)
	}
	answer := Answer{Errors: []string{}, Metrics: map[string][]string{}, Cases: map[string]map[int][]map[string]string{}}
	parse := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse([]byte(request.Rules), false, model.LegacyValidation, parse, nil)
	for _, err := range errs {
		answer.Errors = append(answer.Errors, err.Error())
	}
	if groups != nil {
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				name := rule.Record + rule.Alert
				answer.Metrics[name] = append(answer.Metrics[name], metricsIn(parse, rule.Expr)...)
			}
		}
	}
	for name, query := range request.Queries {
		if _, err := parse.ParseExpr(query); err != nil {
			answer.Errors = append(answer.Errors, name+": "+err.Error())
		}
		answer.Metrics[name] = metricsIn(parse, query)
	}
	if len(answer.Errors) == 0 {
		for _, played := range request.Cases {
			fired, err := play(groups, played)
			if err != nil {
				answer.Errors = append(answer.Errors, played.Name+": "+err.Error())
				continue
			}
			answer.Cases[played.Name] = fired
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fmt.Fprintln(os.Stderr, "promrules:", err)
		os.Exit(2)
	}
}

func metricsIn(parse parser.Parser, text string) []string {
	found := []string{}
	expr, err := parse.ParseExpr(text)
	if err != nil {
		return found
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == labels.MetricName {
					found = append(found, matcher.Value)
				}
			}
		}
		return nil
	})
	return found
}

// play evaluates every rule at every step, as Prometheus does: a recorded series is there for the rules after it, and
// an alert fires once its expression has held for as long as it asks.
func play(groups *rulefmt.RuleGroups, played Case) (map[int][]map[string]string, error) {
	step := time.Duration(played.IntervalSeconds) * time.Second
	script := strings.Builder{}
	fmt.Fprintf(&script, "load %s\n", step)
	for series, values := range played.Series {
		fmt.Fprintf(&script, "  %s %s\n", series, values)
	}
	loader, err := promqltest.NewLazyLoader(script.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return nil, err
	}
	defer loader.Close()
	loader.SubqueryInterval = step

	wanted := map[int]bool{}
	last := 0
	for _, at := range played.AtSeconds {
		wanted[at] = true
		last = max(last, at)
	}
	active := map[string]time.Time{}
	fired := map[int][]map[string]string{}
	for seconds := 0; seconds <= last; seconds += played.IntervalSeconds {
		at := time.Unix(int64(seconds), 0).UTC()
		var failure error
		loader.WithSamplesTill(at, func(err error) { failure = err })
		if failure != nil {
			return nil, failure
		}
		if wanted[seconds] {
			fired[seconds] = []map[string]string{}
		}
		seen := map[string]bool{}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				vector, err := evaluate(loader, rule.Expr, at)
				if err != nil {
					return nil, fmt.Errorf("%s%s: %w", rule.Record, rule.Alert, err)
				}
				if rule.Record != "" {
					if err := record(loader, rule, vector, at); err != nil {
						return nil, err
					}
					continue
				}
				for _, sample := range vector {
					firing := sample.Metric.DropReserved(func(name string) bool { return name == labels.MetricName }).Map()
					for key, value := range rule.Labels {
						firing[key] = value
					}
					firing["alertname"] = rule.Alert
					key := labels.FromMap(firing).String()
					seen[key] = true
					if _, known := active[key]; !known {
						active[key] = at
					}
					if wanted[seconds] && at.Sub(active[key]) >= time.Duration(rule.For) {
						fired[seconds] = append(fired[seconds], firing)
					}
				}
			}
		}
		for key := range active {
			if !seen[key] {
				delete(active, key)
			}
		}
	}
	return fired, nil
}

func evaluate(loader *promqltest.LazyLoader, expr string, at time.Time) (promql.Vector, error) {
	query, err := loader.QueryEngine().NewInstantQuery(loader.Context(), loader.Queryable(), nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(loader.Context())
	if result.Err != nil {
		return nil, result.Err
	}
	switch value := result.Value.(type) {
	case promql.Vector:
		return append(promql.Vector{}, value...), nil
	case promql.Scalar:
		return promql.Vector{{T: value.T, F: value.V}}, nil
	default:
		return nil, fmt.Errorf("gives a %s; a rule needs a vector or a scalar", value.Type())
	}
}

func record(loader *promqltest.LazyLoader, rule rulefmt.Rule, vector promql.Vector, at time.Time) error {
	appender := loader.Storage().Appender(context.Background())
	for _, sample := range vector {
		builder := labels.NewBuilder(sample.Metric)
		builder.Set(labels.MetricName, rule.Record)
		for key, value := range rule.Labels {
			builder.Set(key, value)
		}
		if _, err := appender.Append(0, builder.Labels(), at.UnixMilli(), sample.F); err != nil {
			return fmt.Errorf("%s: %w", rule.Record, err)
		}
	}
	return appender.Commit()
}
