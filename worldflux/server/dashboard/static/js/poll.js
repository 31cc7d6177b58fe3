// Asking again: slower when nothing moves, not at all while nobody looks, and never twice at once.

const FIRST_SECONDS = 3;

/**
 * Call `work` again and again. It returns the seconds until the next time (or nothing for `idle`).
 * After a failure the wait doubles up to a minute and `failed` hears of it; the next success calls `failed(null)`.
 */
export function poll(work, { idle = 10, failed = () => {} } = {}) {
  let timer = 0;
  let faults = 0;
  let busy = false;
  let stopped = false;
  async function turn() {
    if (busy || stopped || document.hidden) return;
    busy = true;
    clearTimeout(timer);
    let wait = idle;
    try {
      wait = (await work()) ?? idle;
      if (faults) failed(null);
      faults = 0;
    } catch (error) {
      if (error.name !== "AbortError") {
        faults += 1;
        failed(error);
        wait = Math.min(60, 2 ** faults);
      }
    }
    busy = false;
    if (!stopped) timer = setTimeout(turn, wait * 1000);
  }
  const seen = () => { if (!document.hidden) turn(); };
  document.addEventListener("visibilitychange", seen);
  timer = setTimeout(turn, Math.min(idle, FIRST_SECONDS) * 1000);
  return {
    now: turn,
    stop() { stopped = true; clearTimeout(timer); document.removeEventListener("visibilitychange", seen); },
  };
}
