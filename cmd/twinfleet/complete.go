package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/configs"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/scenario"
)

// described is names with what they are, as shells show them.
func described(all []configs.Scenario) []string {
	list := make([]string, 0, len(all))
	for _, s := range all {
		list = append(list, s.Name+"\t"+s.Description)
	}
	return list
}

// completeScenarios offers scenario files, folders, and the built-in scenarios.
func completeScenarios(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	offers := entries(typed, func(path string, dir bool) bool {
		return dir || slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path))
	})
	for _, s := range described(configs.Examples()) {
		if strings.HasPrefix(s, typed) {
			offers = append(offers, s)
		}
	}
	return offers, directive(offers)
}

// completeRuns offers the folders of at most so many runs.
func completeRuns(most int) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		isRun := func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, record.File))
			return err == nil
		}
		offers := entries(typed, func(_ string, dir bool) bool { return dir })
		if typed == "" { // where runs are when nobody said otherwise
			offers = append(offers, entries("runs/", func(_ string, dir bool) bool { return dir })...)
		}
		for i, path := range offers {
			if isRun(path) {
				offers[i] = strings.TrimSuffix(path, "/")
			}
		}
		offers = slices.DeleteFunc(offers, func(path string) bool { return slices.Contains(args, path) })
		return offers, directive(offers)
	}
}

// entries are what is in the folder of a path that is being typed and begins like it; folders end in a slash.
func entries(typed string, want func(path string, dir bool) bool) []string {
	dir, base := filepath.Split(typed)
	list, err := os.ReadDir(filepath.Clean("./" + dir))
	if strings.HasPrefix(dir, "/") {
		list, err = os.ReadDir(dir)
	}
	if err != nil {
		return nil
	}
	var offers []string
	for _, entry := range list {
		path := dir + entry.Name()
		hidden := strings.HasPrefix(entry.Name(), ".") && !strings.HasPrefix(base, ".")
		if hidden || !strings.HasPrefix(entry.Name(), base) || !want(path, entry.IsDir()) {
			continue
		}
		if entry.IsDir() {
			path += "/"
		}
		offers = append(offers, path)
	}
	return offers
}

// directive keeps the shell from adding a space after a folder, into which one may want to go on.
func directive(offers []string) cobra.ShellCompDirective {
	d := cobra.ShellCompDirectiveNoFileComp
	if len(offers) == 1 && strings.HasSuffix(offers[0], "/") {
		d |= cobra.ShellCompDirectiveNoSpace
	}
	return d
}

// completeSet offers the keys that --set takes, from the schema; items of lists by the names that the scenario on
// the command line gives them.
func completeSet(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if strings.Contains(typed, "=") {
		return nil, none
	}
	var root node
	if json.Unmarshal(configs.Schema(), &root) != nil {
		return nil, none
	}
	items := map[string][]string{}
	if len(args) > 0 {
		items = itemNames(args[0])
	}
	var offers []string
	root.offer("", typed, items, &offers)
	slices.Sort(offers)
	return offers, none
}

// itemNames are the names of the items of the lists of a scenario; none when it is not valid.
func itemNames(file string) map[string][]string {
	items := make(map[string][]string)
	text, err := scenarioText(file, strings.NewReader(""))
	if err != nil {
		return items
	}
	sc, err := scenario.Decode(file, text, scenario.Options{})
	if err != nil {
		return items
	}
	for _, g := range sc.Fleet.Groups {
		items["fleet.groups"] = append(items["fleet.groups"], g.Name)
	}
	for _, t := range sc.Stages {
		items["stages"] = append(items["stages"], t.Name)
	}
	for _, q := range sc.Service.Queries {
		items["service.queries"] = append(items["service.queries"], q.Name)
	}
	return items
}

// node is a part of the schema.
type node struct {
	Description string
	Properties  map[string]*node
	Items       *node
}

// offer lists the keys under a path that go on from what was typed: one level further than that.
func (n *node) offer(path, typed string, items map[string][]string, offers *[]string) {
	for key, child := range n.Properties {
		below := strings.TrimPrefix(path+"."+key, ".")
		if !strings.HasPrefix(below, typed) && !strings.HasPrefix(typed, below) {
			continue
		}
		child.offerAt(below, typed, items, offers)
	}
}

func (n *node) offerAt(path, typed string, items map[string][]string, offers *[]string) {
	further := len(typed) > len(path) // the path was passed
	switch {
	case n.Items != nil && len(n.Items.Properties) > 0:
		if !further && len(items[path]) == 0 {
			*offers = append(*offers, path+"[0].\t"+n.Description)
			return
		}
		for _, name := range items[path] {
			item := path + "." + name
			switch {
			case len(typed) > len(item) && strings.HasPrefix(typed, item):
				n.Items.offer(item, typed, items, offers)
			case strings.HasPrefix(item, typed):
				*offers = append(*offers, item+".\t"+n.Description)
			}
		}
		if strings.HasPrefix(typed, path+"[") {
			if end := strings.Index(typed, "]"); end > 0 {
				n.Items.offer(typed[:end+1], typed, items, offers)
			}
		}
	case len(n.Properties) > 0 && further:
		n.offer(path, typed, items, offers)
	case len(n.Properties) > 0:
		*offers = append(*offers, path+".\t"+n.Description)
	case !further:
		*offers = append(*offers, path+"=\t"+n.Description)
	}
}
