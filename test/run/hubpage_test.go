//go:build integration

package run

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	identities "github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/test/rig"
)

// press clicks the button with a text.
func press(text string) step {
	return chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("button")].find((b) => b.textContent === "` + text + `").click()`)
}

// fill puts a text into a field as typing does.
func fill(selector, text string) step {
	return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
		`{ const e = document.querySelector(%q); e.value = %q; e.dispatchEvent(new Event("input", { bubbles: true })); e.dispatchEvent(new Event("change", { bubbles: true })); }`,
		selector, text))
}

func view(name string) step {
	return chromedp.Evaluate[chromedp.Void](`location.hash = "#` + name + `"`)
}

// The hub's page in a real browser, over a fleet that is connected: one looks, and with the token one acts; nothing of a device becomes a
// part of the page, nothing is fetched from elsewhere, and it fits a phone.
func TestHubPage(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	_, said := startHub(t, binary, dir, "127.0.0.1:0")
	address := strings.Replace(said["page"].(string), "localhost", "127.0.0.1", 1)
	s := serviceClient(t, said)
	const evil = `{"name":"<img src=x onerror=\"document.body.textContent='broken'\">","turned":"a\u202eb"}`
	if _, err := s.CreateDevice(t.Context(), identities.Identity{DeviceID: "evil", Status: identities.StatusEnabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PatchTwin(t.Context(), "evil", []byte(`{"tags":`+evil+`}`), ""); err != nil {
		t.Fatal(err)
	}
	fleet := rig.Start(t, dir, []string{"TWINFLEET_HUB=" + said["connectionString"].(string), "TWINFLEET_CA=" + said["ca"].(string)}, binary, "run",
		scenarioFile("connectivity"), "--metrics-addr", "", "--no-ui", "--set", "target.hub=${TWINFLEET_HUB}", "--set", "target.ca=${TWINFLEET_CA}",
		"--set", "fleet.groups.robots.count=200", "--set", "stages.ramp={name: ramp, duration: 2s, devices: 200}", "--set", "stages.hold.duration=5m", "--set", "thresholds={}")
	fleet.Line(t, "200 connected", time.Minute)

	b := newBrowser(t, 1280, 900)
	b.do(t, "opening the page", chromedp.Navigate(address), badge("live"), visible("You may change things"), visible("evil"), until(`!location.href.includes("token")`))
	b.do(t, "all connected", until(`[...document.querySelectorAll(".tile")].some((t) => t.textContent === "200connected")`))
	b.do(t, "a device that means ill", view("device/evil"), visible("onerror"), visible(`a\\u202eb`), until(`document.querySelectorAll("img").length === 0`))
	b.do(t, "making a device", view("devices"), until(`document.querySelector("form input[maxlength]")`), fill("form input[maxlength]", "mine"),
		chromedp.Focus(chromedp.CSS("form input[maxlength]")), chromedp.KeyEvent("\r"), visible("mine is made"))
	b.do(t, "editing its twin", view("device/mine"), until(`document.querySelector("section.card textarea")`),
		fill("section.card textarea", `{"tags":{"location":{"plant":"Redmond43"}},"properties":{"desired":{"interval":5}}}`), press("Merge"),
		visible("merged: the twin has version"), visible("location.plant"), visible("interval"))
	b.do(t, "its connection string", press("Show connection string"), visible("DeviceId=mine;SharedAccessKey="))
	b.do(t, "a method that nobody answers", press("Call"), visible("waiting for device to connect"))
	b.do(t, "a query of the tutorial", view("query"), visible("Tutorial"), press("Tutorial: on cellular"), visible("rows 1 to "))
	b.do(t, "a mistake", fill("textarea", "SELECT * FROM devices LIMIT 3"), press("Run (Ctrl+Enter)"), visible("line 1, column 23"), visible("TOP"))
	b.do(t, "live traffic", view("traffic"), until(`document.querySelectorAll("tbody tr").length > 30`), visible("telemetry"), visible("connectivity"))
	b.picture(t, "hub.png")
	b.do(t, "limits", view("limits"), visible("Nothing is limited"))
	b.do(t, "lines to paste", view("connect"), visible("mosquitto_pub"), visible("SharedAccessKeyName=iothubowner;SharedAccessKey="))
	b.do(t, "a fault", view("faults"), visible("Drop answers"), visible("Provisioning"), press("Restart"), badge("no answer"), badge("live"))
	b.do(t, "forgetting the token", press("Forget the token"), visible("Read-only."), view("connect"), visible("places to fill in"),
		until(`!document.body.innerText.includes("SharedAccessSignature sr=")`))
	phone := newBrowser(t, 390, 800)
	for _, name := range []string{"devices", "device/evil", "query", "traffic", "limits", "faults", "connect"} {
		phone.do(t, name, chromedp.Navigate("about:blank"), chromedp.Navigate(strings.SplitN(address, "#", 2)[0]+"#"+name), badge("live"), visible("Read-only."),
			until(`document.querySelector("main").children.length > 1`))
		wide, err := chromedp.Run(phone, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth + 1`))
		if err != nil {
			t.Fatal(err)
		}
		if wide {
			t.Errorf("%s is wider than a phone", name)
		}
	}
	phone.clean(t)
	// The browser itself says of refused requests and of the restart that they failed; nothing else may go wrong.
	b.stop()
	b.watch.Wait()
	for _, p := range b.problems {
		if !strings.Contains(p, "Failed to load resource") {
			t.Error(p)
		}
	}
}
