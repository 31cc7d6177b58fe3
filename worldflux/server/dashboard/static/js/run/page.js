// One run on a page of its own.
import { boot } from "../api.js";
import { find } from "../dom.js";
import { crumbs, start } from "../shell.js";
import { complain } from "../toast.js";
import { RunView } from "./view.js";

start();
const view = new RunView(boot.run, { crumbs });
find("#main").append(view.element);
view.open().catch(complain);
