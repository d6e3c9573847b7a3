(() => {
  const key = "scpo-reader";
  const parts = [...document.querySelectorAll("details")];
  const reader = JSON.parse(sessionStorage.getItem(key));
  sessionStorage.removeItem(key);
  if (reader) {
    reader.open.forEach((open, index) => { if (parts[index]) parts[index].open = open; });
    history.scrollRestoration = "manual";
    scrollTo(0, reader.top);
  }
  setInterval(() => {
    if (document.hidden) return;
    const state = { top: scrollY, open: parts.map((part) => part.open) };
    sessionStorage.setItem(key, JSON.stringify(state));
    location.reload();
  }, {{ refresh_s }} * 1000);
})();
