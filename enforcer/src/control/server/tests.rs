//! Which role may use which route.

use axum::body::Body;
use hyper::Method;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::control::queue;

/// The status with which a request of that role is refused; `None` if it reaches the core, which
/// never answers here.
async fn refused(role: Role, method: Method, path: &str) -> Option<StatusCode> {
    let (inputs, _queue) = queue(8);
    let board = Board::new(inputs.clone());
    let core = Core { inputs, hub: Hub::new(), refusals: Arc::default(), board };
    let router = router(core, Budget::new(Limits::default().answer));
    let peer = Peer { uid: 1_000, gid: 1_000, pid: Some(1) };
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).ok()?;
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(role);
    let answer = TowerToHyperService::new(router).call(request);
    let soon = tokio::time::timeout(std::time::Duration::from_millis(20), answer).await;
    let status = soon.ok()?.ok()?.status();
    [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED]
        .contains(&status)
        .then_some(status)
}

#[tokio::test]
async fn each_route_has_its_role() {
    let viewers = [
        (Method::GET, "/v1/status"),
        (Method::GET, "/v1/devices"),
        (Method::GET, "/v1/flows"),
        (Method::GET, "/v1/rules"),
        (Method::GET, "/v1/history"),
        (Method::GET, "/v1/policy"),
        (Method::POST, "/v1/explain"),
        (Method::POST, "/v1/explain/frames"),
        (Method::GET, "/v1/metrics"),
        (Method::HEAD, "/v1/status"),
    ];
    let operators = [
        (Method::PUT, "/v1/policy"),
        (Method::POST, "/v1/live"),
        (Method::DELETE, "/v1/live/l-1"),
        (Method::POST, "/v1/confirm"),
        (Method::POST, "/v1/rollback"),
        (Method::POST, "/v1/detach"),
    ];
    let forbidden = Some(StatusCode::FORBIDDEN);
    for (method, path) in viewers {
        assert_eq!(refused(Role::Nobody, method.clone(), path).await, forbidden, "{path}");
        assert_eq!(refused(Role::Viewer, method, path).await, None, "{path}");
    }
    for (method, path) in operators {
        assert_eq!(refused(Role::Nobody, method.clone(), path).await, forbidden, "{path}");
        assert_eq!(refused(Role::Viewer, method.clone(), path).await, forbidden, "{path}");
        assert_eq!(refused(Role::Operator, method, path).await, None, "{path}");
    }
    // A path that does not exist is 404 for viewers and operators.
    for (role, status) in [(Role::Nobody, 403), (Role::Viewer, 404), (Role::Operator, 404)] {
        let found = refused(role, Method::GET, "/v1/anything").await;
        assert_eq!(found.map(|found| found.as_u16()), Some(status), "{role:?}");
    }
    let wrong = refused(Role::Viewer, Method::PATCH, "/v1/status").await;
    assert_eq!(wrong, Some(StatusCode::METHOD_NOT_ALLOWED));
}
