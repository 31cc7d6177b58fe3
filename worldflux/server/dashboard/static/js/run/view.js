// A run: its head, its tabs, and the asking that keeps both true while it goes on.
import { boot, get, request } from "../api.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { poll } from "../poll.js";
import { away, title } from "../shell.js";
import { empty, waiting } from "../state.js";
import { complain } from "../toast.js";
import { artifactsTab } from "./artifacts.js";
import { configTab } from "./config.js";
import { environmentTab } from "./environment.js";
import { evidenceTab } from "./evidence.js";
import { RunHead } from "./head.js";
import { logTab } from "./logs.js";
import { MetricsTab } from "./metrics.js";
import { overviewTab } from "./overview.js";

const LIVE_SECONDS = 3;
const IDLE_SECONDS = 30;
const GOING = ["running", "queued"];

const TABS = { overview: "Overview", metrics: "Metrics", log: "Log", artifacts: "Artifacts", config: "Config", environment: "Environment", evidence: "Evidence" };

/** A run in an element; `open()` loads it and keeps it fresh. */
export class RunView {
  constructor(id, { crumbs } = {}) {
    this.id = id;
    this.crumbs = crumbs;
    this.run = null;
    this.manifest = null;
    this.made = new Map();
    this.head = new RunHead(this);
    this.panel = h("div.panel", { role: "tabpanel", id: "panel", tabindex: -1 });
    this.tabs = h("div.tabs", { role: "tablist", "aria-label": "Parts of the run" });
    this.element = h("div.page", waiting(4));
  }

  async open() {
    try {
      await this.load();
    } catch (error) {
      this.gone(error);
      return;
    }
    this.element.replaceChildren(this.head.element, this.tabs, this.panel);
    this.drawTabs();
    this.show();
    addEventListener("hashchange", () => this.show());
    poll(() => this.refresh(), { idle: GOING.includes(this.run.status) ? LIVE_SECONDS : IDLE_SECONDS, failed: away });
  }

  async load() {
    const run = await get(`/api/runs/${this.id}`);
    if (!this.run || run.manifest_sha256 !== this.run.manifest_sha256) {
      try {
        this.manifest = await (await request("GET", `/api/runs/${this.id}/manifest`)).json();
      } catch (error) {
        if (error.status !== 404) throw error;
        this.manifest = null;
      }
    }
    this.run = run;
    title(shown(run.name || run.id));
    if (this.crumbs) this.crumbs(h("a.clip", { href: `/p/${encodeURIComponent(run.project)}` }, shown(run.project)));
    this.head.update(run, this.manifest);
  }

  gone(error) {
    title("Run");
    const words = error.status === 410 ? "This run was deleted" : error.status === 404 ? "There is no such run" : "The run could not be loaded";
    this.element.replaceChildren(empty("warn", words, h("p", shown(error.message)), error.hint ? h("p", shown(error.hint)) : null,
      boot.share ? null : h("a.button", { href: "/" }, "To the runs")));
  }

  drawTabs() {
    const counts = { artifacts: this.manifest ? this.manifest.artifacts.length : 0, metrics: Object.keys(this.run.metrics || {}).length };
    this.tabs.replaceChildren(...Object.entries(TABS).map(([name, label]) => h("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", data: { tab: name }, onkeydown: (event) => this.step(event),
      onclick: () => { location.hash = name; },
    }, label, counts[name] ? h("span.count", ` ${counts[name]}`) : null)));
    this.mark();
  }

  step(event) {
    const names = Object.keys(TABS);
    const to = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!to) return;
    event.preventDefault();
    location.hash = names[(names.indexOf(this.tab) + to + names.length) % names.length];
    requestAnimationFrame(() => this.tabs.querySelector('[aria-selected="true"]').focus());
  }

  get tab() {
    const name = location.hash.slice(1).split("=")[0];
    return TABS[name] ? name : "overview";
  }

  mark() {
    for (const each of this.tabs.children) {
      const on = each.dataset.tab === this.tab;
      each.setAttribute("aria-selected", String(on));
      each.tabIndex = on ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `tab-${this.tab}`);
  }

  /** Put the tab of the address in the panel; each is built once for a state of the run. */
  show() {
    this.mark();
    const { tab } = this;
    if (!this.made.has(tab)) this.made.set(tab, this.build(tab));
    this.panel.replaceChildren(this.made.get(tab).element);
    if (this.made.get(tab).shown) this.made.get(tab).shown();
  }

  build(tab) {
    const make = { overview: overviewTab, log: logTab, artifacts: artifactsTab, config: configTab, environment: environmentTab, evidence: evidenceTab };
    if (tab === "metrics") return new MetricsTab(this);
    const made = make[tab](this);
    return made instanceof Node ? { element: made } : made;
  }

  async refresh() {
    const before = this.run;
    await this.load();
    const changed = before.manifest_sha256 !== this.run.manifest_sha256 || before.status !== this.run.status || before.updated_at !== this.run.updated_at;
    if (changed) {
      for (const [tab, made] of this.made) {
        if (made.update) made.update();
        else if (tab !== this.tab || !this.panel.contains(document.activeElement)) this.made.delete(tab);
      }
      this.drawTabs();
      if (!this.made.has(this.tab)) this.show();
    }
    return GOING.includes(this.run.status) || this.run.lost ? LIVE_SECONDS : IDLE_SECONDS;
  }

  /** Load the run again, after a change made here. */
  again() { return this.refresh().catch(complain); }
}
