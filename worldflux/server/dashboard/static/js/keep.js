// What a browser remembers for a person: columns, views, density. Losing it loses no data.

export function recall(name, otherwise) {
  try {
    const found = localStorage.getItem(`wf.${name}`);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    if (value === undefined) localStorage.removeItem(`wf.${name}`);
    else localStorage.setItem(`wf.${name}`, JSON.stringify(value));
  } catch { /* full or forbidden: the choice holds until the page is left */ }
}
